//! [`ResumeError`]: the error returned if the topics named in a client's id cannot be resumed.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::HubError;

/// The error returned by [`Hub::resume_by_id`](crate::Hub::resume_by_id) and
/// [`Hub::subscribe_by_id`](crate::Hub::subscribe_by_id).
///
/// [`NoId`](Self::NoId) is converted into a `400` response, [`NoNames`](Self::NoNames) into a `404`
/// response, and [`Forbidden`](Self::Forbidden) into a `403` response. An `EventSource` does not
/// reconnect after these responses. If it did, it would send the same id again. [`Hub`](Self::Hub)
/// is converted into the same response as the [`HubError`] that it contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// The client sent no id.
    #[error("the client sent no last event id, so there is nothing to resume")]
    NoId,
    /// The id does not contain the name of a topic.
    #[error(
        "the last event id does not name a topic; build the hub that sends the ids with \
         `named_ids`, or use `Hub::subscribe`"
    )]
    NoNames,
    /// The client may not read one of the topics that the id names.
    #[error("the client may not read a topic that its last event id names")]
    Forbidden,
    /// The hub cannot provide one of the topics.
    #[error(transparent)]
    Hub(#[from] HubError),
}

impl IntoResponse for ResumeError {
    fn into_response(self) -> Response {
        match self {
            Self::NoId => StatusCode::BAD_REQUEST.into_response(),
            Self::NoNames => StatusCode::NOT_FOUND.into_response(),
            Self::Forbidden => StatusCode::FORBIDDEN.into_response(),
            Self::Hub(error) => error.into_response(),
        }
    }
}
