//! [`guard`]: makes every await in an endpoint a cancellation point.

use std::future::IntoFuture;

use tokio::task::coop::{Coop, cooperative};

/// Makes an await in an endpoint a cancellation point, even if the awaited future is always ready.
///
/// If the client disconnects while the future is pending, the generator is dropped at this await.
/// If the future is ready immediately, the await consumes one unit of the task's budget, so a loop
/// of such awaits periodically yields to the runtime. This lets the server read from the connection
/// and notice a disconnect, and lets other tasks on the thread run.
pub fn guard<F>(future: F) -> Awaited<F> {
    Awaited(future)
}

/// See [`guard`]. The compiler's error message mentions this type if an awaited value is not a
/// future.
// The bound is on the `IntoFuture` implementation below rather than on `guard` so that the compiler
// reports a value that isn't a future only once, at the `.await`.
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
