//! [`CloseSignal`]: a future or a cancellation token that closes a stream.

use std::future::Future;

use tokio_util::sync::CancellationToken;

use sealed::Sealed;

/// Types accepted by [`Connection::close_when`](crate::Connection::close_when): any future, and the
/// [`CancellationToken`](tokio_util::sync::CancellationToken) of tokio-util 0.7.
///
/// `K` distinguishes these types and is inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot close a stream",
    label = "neither a future nor a cancellation token",
    note = "use a future, such as an `async` block, or a `CancellationToken` from tokio-util 0.7"
)]
pub trait CloseSignal<K>: Sealed<K> {
    /// Resolves when the stream must close.
    #[doc(hidden)]
    fn signalled(self) -> impl Future<Output = ()> + Send + 'static;
}

/// The [`CloseSignal`] kind for a future.
#[derive(Debug)]
pub enum WhenReady {}

/// The [`CloseSignal`] kind for a cancellation token.
#[derive(Debug)]
pub enum WhenCancelled {}

mod sealed {
    pub trait Sealed<K> {}
}

impl<F: Future + Send + 'static> Sealed<WhenReady> for F {}
impl Sealed<WhenCancelled> for CancellationToken {}

#[diagnostic::do_not_recommend]
impl<F: Future + Send + 'static> CloseSignal<WhenReady> for F {
    async fn signalled(self) {
        self.await;
    }
}

#[diagnostic::do_not_recommend]
impl CloseSignal<WhenCancelled> for CancellationToken {
    fn signalled(self) -> impl Future<Output = ()> + Send + 'static {
        self.cancelled_owned()
    }
}
