//! [`AbortOnError`]: aborts the response if an upstream is cut off.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio_stream::Stream;

use super::{
    error::RelayError,
    stream::{Pieces, Relay},
};
use crate::{
    event::frame::EncodeError,
    generator::{
        first_ok::FirstOk,
        outgoing::Outgoing,
        yielder::{Item, Part, Yield, kind},
    },
};

/// A relay that aborts the response if the upstream is cut off. See [`Relay::abort_on_error`].
#[must_use = "streams do nothing unless polled"]
pub struct AbortOnError<S> {
    stream: S,
}

impl<S> AbortOnError<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream }
    }
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
                outgoing.upstream_failed(error);
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
        let next = ready!(Pin::new(&mut self.stream).poll_next(cx));
        Poll::Ready(next.map(OrAbort))
    }
}

// The stream is polled only if it is `Unpin`.
impl<S> Unpin for AbortOnError<S> {}

impl<T, R: Pieces, E> Part<'_, T, AbortOnError<R>, E> {
    /// Like [`ItemByItem::push_all`](crate::generator::yielder::ItemByItem::push_all), but writes
    /// all events that have been received in one step.
    pub fn push_all(mut self) -> Self {
        self.push_ready = Some(|yielder, relay, cx| relay.get_mut().stream.poll_push(yielder, cx));
        self
    }
}

impl<S> FirstOk<Relay<S>>
where
    Relay<S>: Stream,
{
    /// Aborts the response if the upstream is cut off after its first event. See
    /// [`Relay::abort_on_error`].
    pub fn abort_on_error(self) -> AbortOnError<Self> {
        AbortOnError::new(self)
    }
}

impl<S> fmt::Debug for AbortOnError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortOnError").finish_non_exhaustive()
    }
}
