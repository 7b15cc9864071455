//! [`guard`]: makes each await of an endpoint a point at which its generator can end.

use std::future::IntoFuture;

use tokio::task::coop::{Coop, cooperative};

/// Makes an await of an endpoint a cancellation point, even if the awaited future is always ready.
///
/// If a future is pending, the generator is dropped at this await when the client disconnects. A
/// future that is ready at once uses up a unit of the task's budget instead, so that a loop of such
/// futures lets the connection be read, which is how a disconnect is noticed, and lets the other
/// tasks of the thread run.
pub fn guard<F>(future: F) -> Awaited<F> {
    Awaited(future)
}

/// See [`guard`]. The compiler names this type if an awaited value is not a future.
// The bound is on `IntoFuture` below and not on `guard`, so that a missing future is reported once,
// at the `.await`.
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
