//! [`OpenError`]: the error returned if a topic could not be opened.

use std::{error::Error, sync::Arc};

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

use crate::event::try_later::TryLater;

/// The error returned if a topic could not be opened.
///
/// [`TimedOut`](Self::TimedOut) is logged and converted into a `503` response with a random
/// `Retry-After` of 2 to 7 seconds. If the client is an `EventSource` and the endpoint or one of its
/// extractors returns this error, the client receives a `200` response with a `close` event instead,
/// as [over a `StreamLimit`](crate::StreamLimit#over-the-limit), but with the reason `unavailable`
/// and a reconnection time of 2 to 8 seconds. [`InvalidName`](Self::InvalidName) is converted into a
/// `400` response. [`OtherType`](Self::OtherType) is logged and converted into a `500` response.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The topic could not be read from the engine in time.
    #[error(
        "failed to open the topic within {seconds} seconds; check the engine, or try again later: {}",
        describe(source.as_ref())
    )]
    #[non_exhaustive]
    TimedOut {
        /// The time that the call waited for the engine, in seconds.
        seconds: u64,
        /// The error of the last failed read, which may be a timeout, or `None` if no read has
        /// failed yet.
        source: Option<Arc<dyn Error + Send + Sync>>,
    },
    /// The topic's name is longer than 1,024 bytes, or contains a NUL or a line break.
    #[error(
        "a topic's name is limited to 1,024 bytes and cannot contain NUL or line breaks; use a hash"
    )]
    InvalidName,
    /// The topic is already open in this process with a different value type.
    #[error("the topic is already open as a `Topic<{open}>`; open it with that type")]
    #[non_exhaustive]
    OtherType {
        /// The name of the value type with which the topic is open.
        open: &'static str,
    },
}

fn describe(source: Option<&Arc<dyn Error + Send + Sync>>) -> String {
    source.map_or_else(
        || "the engine did not respond".to_owned(),
        ToString::to_string,
    )
}

impl IntoResponse for OpenError {
    fn into_response(self) -> Response {
        match self {
            Self::TimedOut { .. } => {
                tracing::warn!(error = %self, "rejected a request");
                TryLater::soon("unavailable").into_response(StatusCode::SERVICE_UNAVAILABLE)
            }
            Self::InvalidName => StatusCode::BAD_REQUEST.into_response(),
            Self::OtherType { .. } => {
                tracing::error!(error = %self, "failed to open a topic");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}
