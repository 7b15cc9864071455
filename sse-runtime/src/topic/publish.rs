//! [`PublishError`]: the reasons why an event was not published.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

use crate::event::{
    event::{Data, Event},
    frame::{EncodeError, Fields},
};

/// The reason why an event was not published. No reader has received it.
///
/// As a response, [`Finished`](Self::Finished) becomes a `410`. Any other error is logged and
/// becomes a `500`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The value's `Serialize` implementation failed.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// [`Topic::finish`](super::Topic::finish) was called.
    #[error("the topic is finished, and takes no more events; publish to a new one")]
    Finished,
    /// The event has an id or an end, which only the topic may set, or it has no value.
    #[error("the event has {what}, and cannot be shared; yield it in the endpoint")]
    #[non_exhaustive]
    NotForTopics {
        /// The part that cannot be shared.
        what: &'static str,
    },
    /// The back end would have to wait, and [`Topic::try_publish`](super::Topic::try_publish) never
    /// waits.
    #[error("the topic's back end takes time to publish; use `publish`")]
    TakesTime,
}

impl IntoResponse for PublishError {
    fn into_response(self) -> Response {
        if let Self::Finished = self {
            return StatusCode::GONE.into_response();
        }
        tracing::error!(error = %self, "failed to publish an event");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

/// Splits an event into the fields and the value that all readers of a topic share.
///
/// # Errors
///
/// Returns an error if the event has an id or an end, which only the topic may set, or no value.
pub(crate) fn shared<T>(event: Event<T>) -> Result<(Fields, T), PublishError> {
    let not = |what| Err(PublishError::NotForTopics { what });
    if event.done {
        return not("an end");
    }
    if event.fields.id.is_some() {
        return not("an id");
    }
    match event.data {
        Data::Json(value) => Ok((event.fields, value)),
        Data::Text(_) | Data::None => not("no value"),
    }
}
