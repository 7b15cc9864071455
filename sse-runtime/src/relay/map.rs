//! [`Map`] and [`TryMap`]: relays whose events are mapped.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio_stream::Stream;

use super::{
    abort_on_error::AbortOnError, error::RelayError, relayed_event::RelayedEvent, stream::Relay,
};
use crate::generator::first_ok::FirstOk;

impl<S> Relay<S> {
    /// Maps every event to a value that `yield_!` accepts, such as a changed event.
    ///
    /// ```
    /// # use axum::body::Body;
    /// # use sse_runtime::{Stream, sse_endpoint};
    /// use sse_runtime::{relay, relay::RelayError};
    /// use serde_json::Value;
    ///
    /// # #[derive(serde::Serialize)] struct Broken;
    /// # impl From<RelayError> for Broken { fn from(_: RelayError) -> Self { Self } }
    /// #[sse_endpoint("/chat", method = POST)]
    /// async fn chat() -> impl Stream<Item = Result<Value, Broken>> {
    ///     # let upstream = Body::empty().into_data_stream();
    ///     // Hide the upstream's model from the clients.
    ///     yield_all!(relay(upstream).map(|event| match event.json::<Value>() {
    ///         Ok(mut chunk) => {
    ///             chunk["model"] = "ours".into();
    ///             event.with_data(&chunk.to_string())
    ///         }
    ///         // Such as `[DONE]`.
    ///         Err(_) => event,
    ///     }));
    /// }
    /// ```
    pub fn map<F, V>(self, map: F) -> Map<Self, F>
    where
        F: FnMut(RelayedEvent) -> V,
    {
        Map { relay: self, map }
    }

    /// Maps every event to a value or to an error of type `E`. A [`RelayError`] is converted into
    /// `E`. To pass the stream to `yield_all!`, map events to values that `yield_!` accepts.
    ///
    /// With [`first_ok`](crate::first_ok), an error in the first event determines the response's
    /// status:
    ///
    /// ```
    /// # use axum::{body::Body, http::StatusCode, response::{IntoResponse, Response}};
    /// # use sse_runtime::{Stream, sse_endpoint};
    /// use sse_runtime::{first_ok, relay, relay::{RelayError, RelayedEvent}};
    /// use serde_json::Value;
    ///
    /// #[derive(serde::Serialize)]
    /// struct Failed {
    ///     error: Value,
    /// }
    ///
    /// # impl From<RelayError> for Failed { fn from(_: RelayError) -> Self { Self { error: "cut off".into() } } }
    /// # impl IntoResponse for Failed { fn into_response(self) -> Response { StatusCode::BAD_GATEWAY.into_response() } }
    /// /// The upstream reports its errors as events.
    /// fn check(event: RelayedEvent) -> Result<RelayedEvent, Failed> {
    ///     match event.name() == "error" {
    ///         true => Err(Failed { error: event.json().unwrap_or_default() }),
    ///         false => Ok(event),
    ///     }
    /// }
    ///
    /// #[sse_endpoint("/chat", method = POST)]
    /// async fn chat() -> Result<impl Stream<Item = Result<Value, Failed>>, Failed> {
    ///     # let upstream = Body::empty().into_data_stream();
    ///     let events = first_ok(relay(upstream).try_map(check)).await?;
    ///     yield_all!(events);
    /// }
    /// ```
    pub fn try_map<F, V, E>(self, map: F) -> TryMap<Self, F, E>
    where
        F: FnMut(RelayedEvent) -> Result<V, E>,
        E: From<RelayError>,
    {
        TryMap {
            relay: self,
            map,
            convert: E::from,
        }
    }
}

/// A relay whose events are mapped. See [`Relay::map`].
#[must_use = "streams do nothing unless polled"]
pub struct Map<R, F> {
    relay: R,
    map: F,
}

impl<R, F> Map<R, F> {
    /// Aborts the response if the upstream is cut off. See [`Relay::abort_on_error`].
    pub fn abort_on_error(self) -> AbortOnError<Self> {
        AbortOnError::new(self)
    }
}

impl<S> FirstOk<Relay<S>> {
    /// Maps every event of a [relay](crate::relay()), including the first one. See
    /// [`Relay::map`](crate::relay::Relay::map).
    pub fn map<F, V>(self, map: F) -> Map<Self, F>
    where
        F: FnMut(RelayedEvent) -> V,
    {
        Map { relay: self, map }
    }

    /// Maps every event of a [relay](crate::relay()), including the first one, to a value or an
    /// error. See [`Relay::try_map`](crate::relay::Relay::try_map).
    pub fn try_map<F, V, E>(self, map: F) -> TryMap<Self, F, E>
    where
        F: FnMut(RelayedEvent) -> Result<V, E>,
        E: From<RelayError>,
    {
        TryMap {
            relay: self,
            map,
            convert: E::from,
        }
    }
}

impl<R, F, V> Map<R, F>
where
    R: Stream<Item = Result<RelayedEvent, RelayError>> + Unpin,
    F: FnMut(RelayedEvent) -> V,
{
    /// Returns the next value, or `None` if the upstream has ended.
    ///
    /// # Errors
    ///
    /// See [`Relay::next`].
    ///
    /// # Cancel safety
    ///
    /// No event is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Result<V, RelayError>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl<R, F, V> Stream for Map<R, F>
where
    R: Stream<Item = Result<RelayedEvent, RelayError>> + Unpin,
    F: FnMut(RelayedEvent) -> V,
{
    type Item = Result<V, RelayError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let event = ready!(Pin::new(&mut self.relay).poll_next(cx));
        Poll::Ready(event.map(|event| event.map(&mut self.map)))
    }
}

// The relay is polled only if it is `Unpin`.
impl<R, F> Unpin for Map<R, F> {}

impl<R, F> fmt::Debug for Map<R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").finish_non_exhaustive()
    }
}

/// A relay whose events are mapped to results. See [`Relay::try_map`].
#[must_use = "streams do nothing unless polled"]
pub struct TryMap<R, F, E> {
    relay: R,
    map: F,
    /// Converts an error of the relay. `E` is unbounded everywhere else, so the compiler reports a
    /// missing conversion only once, at the call of [`Relay::try_map`].
    convert: fn(RelayError) -> E,
}

impl<R, F, V, E> TryMap<R, F, E>
where
    R: Stream<Item = Result<RelayedEvent, RelayError>> + Unpin,
    F: FnMut(RelayedEvent) -> Result<V, E>,
{
    /// Returns the next value, or `None` if the upstream has ended.
    ///
    /// # Errors
    ///
    /// Returns the error that the closure returned for an event, or the converted error of
    /// [`Relay::next`]. After an error from the closure, the next call continues with the next
    /// event.
    ///
    /// # Cancel safety
    ///
    /// No event is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Result<V, E>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl<R, F, V, E> Stream for TryMap<R, F, E>
where
    R: Stream<Item = Result<RelayedEvent, RelayError>> + Unpin,
    F: FnMut(RelayedEvent) -> Result<V, E>,
{
    type Item = Result<V, E>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let event = ready!(Pin::new(&mut self.relay).poll_next(cx));
        Poll::Ready(event.map(|event| match event {
            Ok(event) => (self.map)(event),
            Err(error) => Err((self.convert)(error)),
        }))
    }
}

// The relay is polled only if it is `Unpin`.
impl<R, F, E> Unpin for TryMap<R, F, E> {}

impl<R, F, E> fmt::Debug for TryMap<R, F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TryMap").finish_non_exhaustive()
    }
}
