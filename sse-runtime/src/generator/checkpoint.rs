//! [`guard`]: makes each await in an endpoint a point at which its generator can be cancelled.

use std::future::IntoFuture;

use tokio::task::coop::{Coop, cooperative};

/// Makes an await in an endpoint a cancellation point, even if the awaited future is always ready.
///
/// If the future is pending, the generator is dropped at this await when the client disconnects. If
/// the future is ready immediately, it consumes one unit of the task's budget. A loop of such
/// futures therefore yields from time to time. This allows the connection to be read, so that a
/// disconnect is noticed, and it allows other tasks on the thread to run.
pub fn guard<F>(future: F) -> Awaited<F> {
    Awaited(future)
}

/// See [`guard`]. The compiler names this type if an awaited value is not a future.
// The bound is on the `IntoFuture` implementation below and not on `guard`. A value that isn't a
// future is therefore reported only once, at the `.await`.
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
