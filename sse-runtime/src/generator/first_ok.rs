//! [`first_ok`]: turns an early upstream failure into a response status.

use std::{
    future::poll_fn,
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
pub async fn first_ok<S, T, E>(stream: S) -> Result<FirstOk<S>, E>
where
    S: Stream<Item = Result<T, E>>,
{
    let mut stream = Box::pin(stream);
    match poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
        Some(Err(error)) => Err(error),
        first => Ok(FirstOk {
            ended: first.is_none(),
            first,
            stream,
        }),
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
