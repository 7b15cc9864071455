//! [`PublishError`]: why an event was not published.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

use crate::encode::EncodeError;

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
    NotForTopics {
        /// What it has.
        what: &'static str,
    },
    /// Its back end takes time, and [`Topic::publish_now`](super::Topic::publish_now) takes none.
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
