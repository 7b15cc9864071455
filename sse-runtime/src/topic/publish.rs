//! [`Publish`]: the future that publishes an event, and [`PublishError`]: the error that it returns.

use std::{
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{Key, Topic, backend::Publishing};
use crate::event::{
    event::{Data, Event},
    frame::{EncodeError, Fields},
    id::EventId,
    try_later::TryLater,
};

/// The future returned by [`Topic::publish`], [`Topic::publish_event`] and
/// [`Topic::publish_with_key`]. It returns the event's id.
// `T` is unbounded here, unlike in an `async fn`, so the compiler reports a `T` that is not `Clone`
// once, at the call of `publish`.
#[must_use = "an event is published only if the future is polled"]
pub struct Publish<'a, T> {
    topic: &'a Topic<T>,
    state: State<'a, T>,
}

enum State<'a, T> {
    Unpolled(Event<T>, Option<Key>),
    Publishing(Publishing<'a>),
    Done,
}

impl<'a, T> Publish<'a, T> {
    pub(super) fn new(topic: &'a Topic<T>, event: Event<T>, key: Option<Key>) -> Self {
        let state = State::Unpolled(event, key);
        Self { topic, state }
    }
}

impl<T> Future for Publish<'_, T> {
    type Output = Result<EventId, PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut publishing = match std::mem::replace(&mut self.state, State::Done) {
            State::Unpolled(event, key) => {
                let mut encoded = self.topic.encode(event)?;
                encoded.key = key;
                self.topic.backend.publish(encoded)
            }
            State::Publishing(publishing) => publishing,
            // A future must not be polled again once it is ready.
            State::Done => return Poll::Pending,
        };
        let published = publishing.as_mut().poll(cx);
        if published.is_pending() {
            self.state = State::Publishing(publishing);
        }
        published
    }
}

// The event is never pinned.
impl<T> Unpin for Publish<'_, T> {}

impl<T> fmt::Debug for Publish<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publish").finish_non_exhaustive()
    }
}

/// The error returned if an event could not be published. Unless the error is
/// [`Unknown`](Self::Unknown), no reader has received or will receive the event.
///
/// [`Finished`](Self::Finished) is converted into a `410` response, and
/// [`TooLarge`](Self::TooLarge) into a `413` response. [`Unavailable`](Self::Unavailable) and
/// [`Unknown`](Self::Unknown) are logged and converted into a `503` response with a `Retry-After`
/// header. Any other error is logged and converted into a `500` response.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The value's `Serialize` implementation failed.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// [`Topic::finish`](super::Topic::finish) was called.
    #[error("the topic is finished and does not accept any more events; publish to a new topic")]
    Finished,
    /// The event has no value, or it has an id or an end mark, which only the topic may set.
    #[error("an event with {what} cannot be published to a topic; yield it in the endpoint")]
    #[non_exhaustive]
    NotForTopics {
        /// The part of the event that cannot be published.
        what: &'static str,
    },
    /// The back end would have to wait, which [`Topic::try_publish`](super::Topic::try_publish)
    /// never does.
    #[error("the topic's back end would have to wait to publish the event; use `publish` instead")]
    TakesTime,
    /// The engine that stores the topic is not available. The event was not stored.
    #[error(
        "the engine that stores the topic is not available, so the event was not stored: {source}"
    )]
    #[non_exhaustive]
    Unavailable {
        /// The engine's error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The engine that stores the topic did not confirm the event. The event may or may not be
    /// stored. If you [publish it again with this key](super::Topic::publish_with_key), it is
    /// stored only once.
    #[error("the engine did not confirm the event; publish it again with the key {key}: {source}")]
    #[non_exhaustive]
    Unknown {
        /// The event's key.
        key: Key,
        /// The engine's error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Another producer has taken over the topic, for example because this process did not respond
    /// for some time.
    #[error("another producer has taken over the topic; stop publishing to it")]
    Fenced,
    /// The event is larger than the maximum that the topic's engine accepts.
    #[error(
        "the event is {len} bytes long, but the engine that stores the topic accepts at most {max}"
    )]
    #[non_exhaustive]
    TooLarge {
        /// The event's size, in bytes.
        len: usize,
        /// The maximum size, in bytes.
        max: usize,
    },
}

impl IntoResponse for PublishError {
    fn into_response(self) -> Response {
        match self {
            Self::Finished => return StatusCode::GONE.into_response(),
            Self::TooLarge { .. } => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
            _ => tracing::error!(error = %self, "failed to publish an event"),
        }
        match self {
            Self::Unavailable { .. } | Self::Unknown { .. } => {
                TryLater::soon("unavailable").into_response(StatusCode::SERVICE_UNAVAILABLE)
            }
            _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

/// Splits an event into its fields and the value that all readers of the topic share.
///
/// # Errors
///
/// Returns an error if the event has no value, or if it has an id or an end mark, which only the
/// topic may set.
pub(crate) fn shared<T>(event: Event<T>) -> Result<(Fields, T), PublishError> {
    let not = |what| Err(PublishError::NotForTopics { what });
    if event.done {
        return not("an end mark");
    }
    if event.fields.id.is_some() {
        return not("an id");
    }
    match event.data {
        Data::Json(value) => Ok((event.fields, value)),
        Data::Text(_) | Data::None => not("no value"),
    }
}
