//! [`PublishError`]: the error returned if an event could not be published.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

use crate::event::{
    event::{Data, Event},
    frame::{EncodeError, Fields},
};

/// The error returned if an event could not be published. No reader has received it.
///
/// [`Finished`](Self::Finished) is converted into a `410` response. Any other error is logged and
/// converted into a `500` response.
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
