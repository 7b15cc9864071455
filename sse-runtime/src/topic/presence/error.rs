//! [`PresenceError`]: the error returned if a presence could not be opened.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

use crate::topic::OpenError;

/// The error returned if a presence could not be opened.
///
/// [`NotShared`](Self::NotShared) is logged and converted into a `500` response.
/// [`Open`](Self::Open) is converted into the same response as the [`OpenError`] that it contains.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PresenceError {
    /// Only one process at a time can use the engine, so the engine cannot share a presence.
    #[error(
        "the engine cannot share a presence, because only one process at a time can use it; create \
         the presence with `Presence::new`"
    )]
    NotShared,
    /// The topic that contains the changes could not be opened, or the members could not be read.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl IntoResponse for PresenceError {
    fn into_response(self) -> Response {
        match self {
            Self::NotShared => {
                tracing::error!(error = %self, "failed to open a presence");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
            Self::Open(error) => error.into_response(),
        }
    }
}
