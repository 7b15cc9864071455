//! [`StreamError`]: the error that aborts a stream's response.

use std::error::Error;

use crate::{
    event::{frame::EncodeError, gap::Gap},
    lifecycle::close_reason::CloseReason,
};

/// The error that aborts a response. The client only sees an incomplete body, while the error
/// itself is written to the server's log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("failed to encode a value yielded by the `{endpoint}` endpoint")]
    Encode {
        endpoint: &'static str,
        source: EncodeError,
    },
    #[error("a client of the `{endpoint}` endpoint missed events")]
    Gap {
        endpoint: &'static str,
        source: Box<Gap>,
    },
    #[error("a stream of the `{endpoint}` endpoint was cut off: {reason}")]
    Cut {
        endpoint: &'static str,
        reason: CloseReason,
    },
    #[error("the upstream relayed by the `{endpoint}` endpoint failed")]
    Upstream {
        endpoint: &'static str,
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("the run read by the `{endpoint}` endpoint failed")]
    RunFailed { endpoint: &'static str },
    #[error("the run read by the `{endpoint}` endpoint was stopped")]
    RunStopped { endpoint: &'static str },
    #[error("the `{endpoint}` endpoint panicked")]
    Panicked { endpoint: &'static str },
    #[error("the `{endpoint}` endpoint returned an error response after its response had begun")]
    RejectedTooLate { endpoint: &'static str },
    #[error("a request to the `{endpoint}` endpoint was aborted before its body was complete")]
    RequestAborted {
        endpoint: &'static str,
        source: axum::Error,
    },
}
