//! The awaits of an endpoint: each is a place where its generator can end.

use std::future::IntoFuture;

use tokio::task::coop::{Coop, cooperative};

/// Makes an await of an endpoint a cancellation point, even when the awaited future is always ready.
///
/// Where a future is pending, the generator is dropped there when its client leaves. A future that is ready at once
/// uses up a unit of the task's budget instead, so that a loop of them lets the connection be read, which is where a
/// client's leaving is seen, and the other tasks of the thread run.
pub fn guard<F>(future: F) -> Awaited<F> {
    Awaited(future)
}

/// See [`guard`]. The compiler names it where something is awaited that is no future.
// The bound is on `IntoFuture` below and not on `guard`, so that a missing future is reported once, at the `.await`.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Awaited<F>(F);

#[diagnostic::do_not_recommend]
impl<F: IntoFuture> IntoFuture for Awaited<F> {
    type Output = F::Output;
    type IntoFuture = Coop<F::IntoFuture>;

    fn into_future(self) -> Self::IntoFuture {
        cooperative(self.0.into_future())
    }
}
