//! Relays an event stream from another server, such as an inference server.
//!
//! [`relay`] takes the bytes of the upstream's response and returns a stream for `yield_all!` and
//! [`first_ok`](crate::first_ok).
//!
//! ```
//! use axum::{body::Body, http::StatusCode, response::{IntoResponse, Response}};
//! use serde_json::Value;
//! use sse_runtime::{Stream, first_ok, relay, relay::RelayError, sse_endpoint};
//!
//! # async fn ask_upstream() -> Result<axum::http::Response<Body>, std::io::Error> { Ok(Response::new(Body::empty())) }
//! # #[derive(Debug)]
//! struct BadGateway;
//!
//! impl From<RelayError> for BadGateway {
//!     fn from(_: RelayError) -> Self { Self }
//! }
//!
//! impl IntoResponse for BadGateway {
//!     fn into_response(self) -> Response { StatusCode::BAD_GATEWAY.into_response() }
//! }
//!
//! #[sse_endpoint("/v1/chat/completions", method = POST)]
//! async fn chat() -> Result<impl Stream<Item = Value>, BadGateway> {
//!     let response = ask_upstream().await.map_err(|_| BadGateway)?;
//!     if response.status() != StatusCode::OK {
//!         return Err(BadGateway);
//!     }
//!     // With reqwest, `into_body().into_data_stream()` is `bytes_stream()`.
//!     let upstream = response.into_body().into_data_stream();
//!     // An upstream that is cut off before its first event becomes a `502`.
//!     let events = first_ok(relay(upstream)).await?;
//!     // If the upstream is cut off later, so is this response.
//!     yield_all!(events.abort_on_error());
//! }
//! ```
//!
//! To build a gateway in front of a language model, begin with the
//! [recipe](crate::recipes#a-gateway-in-front-of-a-language-model). It also passes on a `429` with
//! its `Retry-After`, reports errors in OpenAI's format, counts tokens, and logs why each stream
//! ended.
//!
//! # What is relayed
//!
//! Events are relayed as they are, with their names, data, ids, reconnection times and comments.
//! Only two things change: line breaks other than LF are replaced with LF, because some clients do
//! not recognize them, and a byte order mark at the start of the stream is removed. The data is not
//! parsed.
//!
//! Only complete events are relayed: a client never receives part of an event, and an event that is
//! incomplete when the upstream ends is discarded, as it would be by an `EventSource`.
//!
//! All events in one chunk from the upstream are sent in a single write. If the client disconnects,
//! the upstream's stream is dropped, which cancels the request. If the client stops reading, the
//! upstream's stream is no longer polled.
//!
//! Since ids are relayed too, a client that reconnects sends the upstream's id. Pass this id on in
//! the `Last-Event-ID` header of the request to the upstream. If the upstream is an endpoint of this
//! crate that ends with a `done` event, this event is relayed too, and a client that reconnects
//! receives a `204`. To replace the ids, see [`Relay::reissue_ids`].
//!
//! Relayed events need not have the endpoint's item type. Choose the type of the items that the
//! function yields itself, or `serde_json::Value` if it yields only relayed events. If the endpoint
//! is described by an [`Api`](crate::openapi::Api), choose the type of the upstream's events. The
//! document then describes them, although it must allow any other event as well.
//!
//! # Errors
//!
//! If the upstream is cut off, the relay yields a [`RelayError`]. The endpoint's item type
//! determines what the client receives:
//!
//! | endpoint's item | all events | one by one | the client receives |
//! | --- | --- | --- | --- |
//! | `T` | `yield_all!(relay(upstream).abort_on_error())` | `let mut events = relay(upstream).abort_on_error(); while let Some(event) = events.next().await { … }` | an aborted response, as from the upstream itself |
//! | `Result<T, E>`, where `E: From<RelayError>` | `yield_all!(relay(upstream))` | `let mut events = relay(upstream); while let Some(event) = events.next().await { let event = event?; … }` | `E` as an event, and then the end of the stream |
//!
//! The client must recognize this event as an error. OpenAI's clients, for example, expect an
//! object with the member `error`, whereas an error that derives [`SseError`](crate::SseError) is
//! sent as a problem (RFC 9457). For such a client, implement `Serialize` instead of deriving
//! `SseError`. See [Protocols](crate::protocols).
//!
//! [`RelayError::CutOff`] contains the error of the upstream's stream as its source.
//! `abort_on_error` logs both as a warning. An `E` that implements [`Error`](std::error::Error) is
//! also logged, along with its sources. If `E` does not implement it, or does not have the
//! [`RelayError`] as a source, log the [`RelayError`] where it is converted into `E`. An error that
//! is returned before the response begins, for example by [`first_ok`](crate::first_ok), is logged
//! only if its type derives `SseError`.
//!
//! Some upstreams report errors as events. To treat such an event like a [`RelayError`], use
//! [`Relay::try_map`].
//!
//! The relay does not detect an upstream that has vanished without closing its connection, and the
//! endpoint's keep-alives hide this from the client. Set a read timeout on the HTTP client that
//! calls the upstream. With reqwest, use `read_timeout`, because `timeout` would limit the total
//! duration of the stream.
//!
//! # Changing events
//!
//! To inspect, change or drop events, read them one by one. An event is parsed only when one of its
//! methods is called.
//!
//! ```
//! # use axum::body::Body;
//! # use serde_json::Value;
//! # use sse_runtime::{Stream, relay, relay::RelayError, sse_endpoint};
//! #[derive(Debug, sse_runtime::SseError, thiserror::Error)]
//! enum ChatError {
//!     #[error("the upstream has failed")]
//!     #[sse(status = 502)]
//!     Upstream(#[from] RelayError),
//!     #[error("the budget is spent")]
//!     #[sse(status = 402)]
//!     BudgetSpent,
//! }
//!
//! #[sse_endpoint("/chat", method = POST)]
//! async fn chat() -> impl Stream<Item = Result<Value, ChatError>> {
//!     # let upstream = Body::empty().into_data_stream();
//!     let mut events = relay(upstream);
//!     let mut budget = 10_000;
//!     while let Some(event) = events.next().await {
//!         let event = event?;
//!         let chunk: Value = event.json().unwrap_or_default();
//!         // A chunk contains about one token. The exact number is known only at the end.
//!         if chunk["choices"][0]["delta"]["content"].is_string() {
//!             if budget == 0 {
//!                 return Err(ChatError::BudgetSpent);
//!             }
//!             budget -= 1;
//!         }
//!         yield_!(event);
//!     }
//! }
//! ```

mod abort_on_error;
mod error;
mod map;
mod relayed_event;
mod rewrite;
mod splitter;
mod stream;

pub use abort_on_error::AbortOnError;
pub use error::RelayError;
pub use map::{Map, TryMap};
pub use relayed_event::RelayedEvent;
pub use stream::{Relay, Upstream, relay};
