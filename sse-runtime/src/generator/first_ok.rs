//! [`first_ok`]: turns an early upstream failure into a response status.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tokio_stream::Stream;

/// Waits for the first item of a fallible stream. If that item is an error, returns it, so that `?`
/// can still turn it into the response's status. Otherwise, returns the whole stream, including its
/// first item. The returned stream can be passed to `yield_all!`.
///
/// # Errors
///
/// Returns an error if the first item is an `Err`.
///
/// # Cancel safety
///
/// Dropping the future drops the stream.
///
/// ```
/// use axum::http::StatusCode;
/// use sse_runtime::{Stream, first_ok, sse_endpoint};
///
/// # #[derive(serde::Serialize)] struct Upstream(u16);
/// # impl From<Upstream> for StatusCode { fn from(e: Upstream) -> Self { Self::from_u16(e.0).unwrap() } }
/// # fn ask_the_model() -> impl Stream<Item = Result<String, Upstream>> { tokio_stream::empty() }
/// // A 429 from the upstream becomes our own 429. A later failure becomes an `event: error`.
/// #[sse_endpoint("/answer", method = POST)]
/// async fn answer() -> Result<impl Stream<Item = Result<String, Upstream>>, StatusCode> {
///     let tokens = first_ok(ask_the_model()).await?;
///     yield_all!(tokens);
/// }
/// ```
pub fn first_ok<S, E>(stream: S) -> FirstItem<S, E>
where
    S: FallibleStream<E>,
{
    FirstItem {
        stream: Some(Box::pin(stream)),
        poll_first: S::poll_first,
    }
}

/// A stream of `Result<T, E>`. [`first_ok`] accepts such streams.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a stream of `Result`s",
    label = "not a stream of `Result`s",
    note = "for a relay, call `.abort_on_error()` on the stream that `first_ok` returns: `first_ok(relay(upstream)).await?.abort_on_error()`"
)]
pub trait FallibleStream<E>: Stream + sealed::Sealed<E> {
    /// Polls for the first item. If it is an error, returns the error.
    #[doc(hidden)]
    fn poll_first(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Self::Item>, E>>;
}

mod sealed {
    pub trait Sealed<E> {}
}

impl<S, T, E> sealed::Sealed<E> for S where S: Stream<Item = Result<T, E>> {}

#[diagnostic::do_not_recommend]
impl<S, T, E> FallibleStream<E> for S
where
    S: Stream<Item = Result<T, E>>,
{
    fn poll_first(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Option<S::Item>, E>> {
        let first = self.poll_next(cx);
        first.map(|first| first.transpose().map(|first| first.map(Ok)))
    }
}

/// The future returned by [`first_ok`].
#[must_use = "futures do nothing unless polled"]
pub struct FirstItem<S: Stream, E> {
    /// `None` once the future is ready.
    stream: Option<Pin<Box<S>>>,
    /// Polls the stream. The items need not be `Result`s here, so the compiler reports items of
    /// another type once, at the call of [`first_ok`].
    poll_first: PollFirst<S, E>,
}

type PollFirst<S, E> =
    fn(Pin<&mut S>, &mut Context<'_>) -> Poll<Result<Option<<S as Stream>::Item>, E>>;

impl<S: Stream, E> Future for FirstItem<S, E> {
    type Output = Result<FirstOk<S>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // A future must not be polled again once it is ready.
        let Some(mut stream) = self.stream.take() else {
            return Poll::Pending;
        };
        let Poll::Ready(first) = (self.poll_first)(stream.as_mut(), cx) else {
            self.stream = Some(stream);
            return Poll::Pending;
        };
        Poll::Ready(first.map(|first| FirstOk {
            ended: first.is_none(),
            first,
            stream,
        }))
    }
}

impl<S: Stream, E> std::fmt::Debug for FirstItem<S, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FirstItem").finish_non_exhaustive()
    }
}

pin_project! {
    /// The stream returned by [`first_ok`]. It starts with the item that [`first_ok`] waited for.
    #[must_use = "streams do nothing unless polled"]
    pub struct FirstOk<S: Stream> {
        first: Option<S::Item>,
        ended: bool,
        stream: Pin<Box<S>>,
    }
}

impl<S: Stream> FirstOk<S> {
    /// Returns the next item, or `None` if the stream has ended. The first call returns the item
    /// that [`first_ok`] waited for.
    ///
    /// # Cancel safety
    ///
    /// No item is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<S::Item> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Returns whether the first item has yet to be read.
    pub(crate) fn has_first(&self) -> bool {
        self.first.is_some()
    }

    /// Returns the stream without its first item.
    pub(crate) fn rest(&mut self) -> Pin<&mut S> {
        self.stream.as_mut()
    }
}

impl<S: Stream> std::fmt::Debug for FirstOk<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FirstOk").finish_non_exhaustive()
    }
}

impl<S: Stream> Stream for FirstOk<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(first));
        }
        // A stream must not be polled again after it has ended.
        if *this.ended {
            return Poll::Ready(None);
        }
        let next = this.stream.as_mut().poll_next(cx);
        *this.ended = matches!(next, Poll::Ready(None));
        next
    }
}
