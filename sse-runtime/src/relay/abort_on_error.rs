//! [`AbortOnError`]: aborts the response if an upstream is cut off.

use std::{
    fmt,
    future::{pending, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio_stream::Stream;

use super::{error::RelayError, map::Map, relayed_event::RelayedEvent, stream::Relay};
use crate::{
    event::frame::EncodeError,
    generator::{
        first_ok::FirstOk,
        handoff::Handoff,
        outgoing::Outgoing,
        part::PushBatch,
        yielder::{Item, Yield, Yielder, kind},
    },
};

/// A relay that aborts the response if the upstream is cut off. See
/// [`Relay::abort_on_error`](super::Relay::abort_on_error).
///
/// Pass it to `yield_all!`, or read its events one by one with [`next`](Self::next).
#[must_use = "streams do nothing unless polled"]
pub struct AbortOnError<S> {
    stream: S,
    /// Whether the stream has returned an error. The end of the stream, which follows the error,
    /// must not be mistaken for the end of a complete response.
    has_failed: bool,
}

impl<S> AbortOnError<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            has_failed: false,
        }
    }
}

impl<S> AbortOnError<Relay<S>> {
    /// Maps every event. See [`Relay::map`].
    pub fn map<F, V>(self, map: F) -> AbortOnError<Map<Relay<S>, F>>
    where
        F: FnMut(RelayedEvent) -> V,
    {
        self.stream.map(map).abort_on_error()
    }
}

impl<S> AbortOnError<FirstOk<Relay<S>>> {
    /// Maps every event. See [`Relay::map`].
    pub fn map<F, V>(self, map: F) -> AbortOnError<Map<FirstOk<Relay<S>>, F>>
    where
        F: FnMut(RelayedEvent) -> V,
    {
        self.stream.map(map).abort_on_error()
    }
}

impl<S, V> AbortOnError<S>
where
    S: Stream<Item = Result<V, RelayError>> + Unpin,
{
    /// Returns the next event, or `None` if the upstream has ended.
    ///
    /// If the upstream is cut off or an event is too large, this method aborts the response and
    /// never returns. The endpoint's function is dropped at this `.await`, as if the client had
    /// disconnected. If the function awaits several futures together, as in `select!`, those that
    /// are ready in the same poll still run. If the response has not begun, it begins and is then
    /// aborted. To respond with an error status instead, use [`first_ok`](crate::first_ok).
    ///
    /// ```
    /// # use axum::body::Body;
    /// # use serde_json::Value;
    /// # use sse_runtime::{Stream, relay, sse_endpoint};
    /// #[sse_endpoint("/chat", method = POST)]
    /// async fn chat() -> impl Stream<Item = Value> {
    ///     # let upstream = Body::empty().into_data_stream();
    ///     let mut events = relay(upstream).abort_on_error();
    ///     while let Some(event) = events.next().await {
    ///         if event.name() != "ping" {
    ///             yield_!(event);
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the upstream is cut off or an event is too large while the future is not polled by
    /// an endpoint's function. In a spawned task, for example, there is no response to abort.
    ///
    /// # Cancel safety
    ///
    /// No event is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<V> {
        let next = poll_fn(|cx| self.poll_result(cx)).await;
        let error = match next {
            Some(Ok(event)) => return Some(event),
            Some(Err(error)) => error,
            None => return None,
        };
        abort(error).await
    }

    fn poll_result(&mut self, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        if self.has_failed {
            // The body drops the generator, because the response has failed.
            return Poll::Pending;
        }
        let next = ready!(Pin::new(&mut self.stream).poll_next(cx));
        self.has_failed = matches!(next, Some(Err(_)));
        Poll::Ready(next)
    }
}

/// Aborts the response of the endpoint whose function is being polled.
async fn abort(error: RelayError) -> ! {
    let aborted = Handoff::with_current(|handoff| {
        // A response that has not begun cannot be aborted.
        handoff.begin();
        handoff.lock().upstream_failed(error)
    });
    assert!(
        aborted.is_some(),
        "`abort_on_error` works only in an event endpoint's function, not in a task that it spawns"
    );
    // The body drops the generator, because the response has failed.
    pending().await
}

/// An item of an [`AbortOnError`]. Yielding an error aborts the response.
#[derive(Debug)]
pub struct OrAbort<V>(Result<V, RelayError>);

#[diagnostic::do_not_recommend]
impl<T, V, Kind> Yield<T, kind::OrAbort<Kind>> for OrAbort<V>
where
    V: Yield<T, Kind>,
{
    fn write_to(self, outgoing: &mut Outgoing, item: &Item<T>) -> Result<(), EncodeError> {
        match self.0 {
            Ok(value) => value.write_to(outgoing, item),
            Err(error) => {
                let unused = outgoing.upstream_failed(error);
                debug_assert!(unused.is_none(), "nothing is written after a failure");
                Ok(())
            }
        }
    }
}

impl<S, V> Stream for AbortOnError<S>
where
    S: Stream<Item = Result<V, RelayError>> + Unpin,
{
    type Item = OrAbort<V>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<OrAbort<V>>> {
        let next = ready!(self.poll_result(cx));
        Poll::Ready(next.map(OrAbort))
    }
}

// The stream is polled only if it is `Unpin`.
impl<S> Unpin for AbortOnError<S> {}

impl<T, R: PushBatch<T> + Unpin> PushBatch<T> for AbortOnError<R> {
    fn poll_push(
        mut self: Pin<&mut Self>,
        yielder: &Yielder<T>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<bool>> {
        Pin::new(&mut self.stream).poll_push(yielder, cx)
    }
}

impl<S, V> FirstOk<S>
where
    S: Stream<Item = Result<V, RelayError>>,
{
    /// Aborts the response if a [relay](crate::relay()) fails after its first event. See
    /// [`Relay::abort_on_error`](crate::relay::Relay::abort_on_error).
    pub fn abort_on_error(self) -> AbortOnError<Self> {
        AbortOnError::new(self)
    }
}

impl<S> fmt::Debug for AbortOnError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortOnError").finish_non_exhaustive()
    }
}
