//! The awaits of an endpoint: each is a place where its generator can end.

use std::future::{Future, IntoFuture};

use tokio::task::coop::{Coop, cooperative};

/// Makes an await of an endpoint a cancellation point, even when the awaited future is always ready.
///
/// Where a future is pending, the generator is dropped there when its client leaves. A future that is ready at once
/// uses up a unit of the task's budget instead, so that a loop of them lets the connection be read, which is where a
/// client's leaving is seen, and the other tasks of the thread run.
pub fn guard<F>(future: F) -> Guard<F> {
    Guard(future)
}

/// See [`guard`].
// The bound is on `IntoFuture` below and not on `guard`, so that a missing future is reported once, at the `.await`.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Guard<F>(F);

#[diagnostic::do_not_recommend]
impl<F: Awaitable> IntoFuture for Guard<F> {
    type Output = F::Output;
    type IntoFuture = Coop<F::Future>;

    fn into_future(self) -> Self::IntoFuture {
        cooperative(self.0.start())
    }
}

/// What can be awaited.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a future",
    label = "`{Self}` is not a future",
    note = "remove the `.await`, or call something `async` before it"
)]
pub trait Awaitable {
    /// What awaiting it gives.
    type Output;
    /// The future that it becomes.
    type Future: Future<Output = Self::Output>;
    #[doc(hidden)]
    fn start(self) -> Self::Future;
}

#[diagnostic::do_not_recommend]
impl<F: IntoFuture> Awaitable for F {
    type Output = F::Output;
    type Future = F::IntoFuture;

    fn start(self) -> Self::Future {
        self.into_future()
    }
}
