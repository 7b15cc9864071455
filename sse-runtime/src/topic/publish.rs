//! [`PublishError`]: why an event was not published.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

use crate::event::{
    event::{Data, Event},
    frame::{EncodeError, Fields},
};

/// An event was not published. Nobody has got it.
///
/// As a response [`Finished`](Self::Finished) is `410`, and all else, which is logged, `500`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Its `Serialize` failed.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// [`Topic::finish`](super::Topic::finish) was called.
    #[error("the topic is finished, and takes no more events; publish to a new one")]
    Finished,
    /// The event has an id or an end, which are the topic's to give, or no value.
    #[error("the event has {what}, and cannot be shared; yield it in the endpoint")]
    #[non_exhaustive]
    NotForTopics {
        /// What it has.
        what: &'static str,
    },
    /// Its back end takes time, and [`Topic::try_publish`](super::Topic::try_publish) takes none.
    #[error("the topic's back end takes time to publish; use `publish`")]
    TakesTime,
}

impl IntoResponse for PublishError {
    fn into_response(self) -> Response {
        if let Self::Finished = self {
            return StatusCode::GONE.into_response();
        }
        tracing::error!(error = %self, "an event was not published");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

/// Takes an event apart into what all readers of a topic share.
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
