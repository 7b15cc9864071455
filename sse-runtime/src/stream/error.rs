//! [`StreamError`]: why the response of a stream is aborted.

use crate::{
    event::{frame::EncodeError, gap::Gap},
    lifecycle::close_reason::CloseReason,
};

/// The reason why a response breaks off. The client sees only that the body was cut short; the
/// error is for the server's log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("a value that the endpoint `{endpoint}` yielded could not be sent")]
    Encode {
        endpoint: &'static str,
        source: EncodeError,
    },
    #[error("a client of the endpoint `{endpoint}` missed events")]
    Gap {
        endpoint: &'static str,
        source: Box<Gap>,
    },
    #[error("the stream of the endpoint `{endpoint}` was cut: {reason}")]
    Cut {
        endpoint: &'static str,
        reason: CloseReason,
    },
    #[error("the run that the endpoint `{endpoint}` reads has failed")]
    RunFailed { endpoint: &'static str },
    #[error("the run that the endpoint `{endpoint}` reads was stopped")]
    RunStopped { endpoint: &'static str },
    #[error("the endpoint `{endpoint}` panicked")]
    Panicked { endpoint: &'static str },
    #[error(
        "the endpoint `{endpoint}` ended with the response's error after the response had begun"
    )]
    RejectedTooLate { endpoint: &'static str },
    #[error(
        "a client of the endpoint `{endpoint}` left, or broke off, in the middle of its request"
    )]
    RequestBrokenOff {
        endpoint: &'static str,
        source: axum::Error,
    },
}
