//! The gateway's own errors, in the formats of both protocols.

use std::{fmt, marker::PhantomData, time::Duration};

use axum::{
    Json,
    http::{StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use sse_runtime::{
    relay::RelayError,
    route::{LimitExceeded, ResponseHeaderError},
};

/// A reason why the gateway cannot answer, or cannot finish its answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(
        "the API key is missing or unknown; send it as `authorization: Bearer KEY` or `x-api-key: KEY`"
    )]
    UnknownKey,
    #[error("too many requests are in progress for this API key; try again in {after:?}")]
    TooManyStreams { after: Duration },
    #[error("the token budget of this API key is spent")]
    BudgetSpent,
    #[error("the upstream has not responded")]
    Unreachable(#[source] reqwest::Error),
    #[error("the upstream's answer was cut off")]
    CutOff(#[from] RelayError),
    #[error("a response header cannot be set")]
    Header(#[from] ResponseHeaderError),
}

/// The format of a protocol's errors.
pub(crate) trait Protocol: Send + Sync + 'static {
    fn status(failure: &Failure) -> StatusCode {
        match failure {
            Failure::UnknownKey => StatusCode::UNAUTHORIZED,
            Failure::TooManyStreams { .. } => StatusCode::TOO_MANY_REQUESTS,
            Failure::BudgetSpent => StatusCode::PAYMENT_REQUIRED,
            Failure::Unreachable(_) | Failure::CutOff(_) => StatusCode::BAD_GATEWAY,
            Failure::Header(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn format(failure: &Failure) -> Value;
}

#[derive(Debug)]
pub(crate) enum OpenAi {}

/// Source: [OpenAI's error
/// codes](https://platform.openai.com/docs/guides/error-codes/api-errors).
impl Protocol for OpenAi {
    fn status(failure: &Failure) -> StatusCode {
        match failure {
            Failure::BudgetSpent => StatusCode::TOO_MANY_REQUESTS,
            other => Anthropic::status(other),
        }
    }

    fn format(failure: &Failure) -> Value {
        let (r#type, code) = match failure {
            Failure::UnknownKey => ("invalid_request_error", "invalid_api_key"),
            Failure::TooManyStreams { .. } => ("requests", "rate_limit_exceeded"),
            Failure::BudgetSpent => ("insufficient_quota", "insufficient_quota"),
            Failure::Unreachable(_) | Failure::CutOff(_) => ("server_error", "bad_gateway"),
            Failure::Header(_) => ("server_error", "internal_error"),
        };
        let message = failure.to_string();
        json!({ "error": { "message": message, "type": r#type, "param": null, "code": code } })
    }
}

#[derive(Debug)]
pub(crate) enum Anthropic {}

/// Source: [Anthropic's errors](https://docs.anthropic.com/en/api/errors).
impl Protocol for Anthropic {
    fn format(failure: &Failure) -> Value {
        let r#type = match failure {
            Failure::UnknownKey => "authentication_error",
            Failure::TooManyStreams { .. } => "rate_limit_error",
            Failure::BudgetSpent => "billing_error",
            Failure::Unreachable(_) | Failure::CutOff(_) | Failure::Header(_) => "api_error",
        };
        let message = failure.to_string();
        json!({ "type": "error", "error": { "type": r#type, "message": message } })
    }
}

/// A failure in the format of the protocol `P`, as a response or as an event.
pub(crate) struct ApiError<P> {
    failure: Failure,
    protocol: PhantomData<P>,
}

impl<P> ApiError<P> {
    pub(crate) fn too_many_streams(exceeded: LimitExceeded) -> Self {
        let after = Duration::from_secs(exceeded.retry_after().as_secs());
        Failure::TooManyStreams { after }.into()
    }
}

impl<P, F: Into<Failure>> From<F> for ApiError<P> {
    fn from(failure: F) -> Self {
        Self {
            failure: failure.into(),
            protocol: PhantomData,
        }
    }
}

impl<P> fmt::Debug for ApiError<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(f)
    }
}

impl<P: Protocol> Serialize for ApiError<P> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        P::format(&self.failure).serialize(serializer)
    }
}

impl<P: Protocol> IntoResponse for ApiError<P> {
    fn into_response(self) -> Response {
        let mut response = (P::status(&self.failure), Json(&self)).into_response();
        if let Failure::TooManyStreams { after } = self.failure {
            let seconds = after.as_secs().into();
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        response
    }
}

/// A response that is not an event stream.
#[derive(Debug)]
pub(crate) enum Answer<P> {
    /// The upstream's response, such as a complete answer or an error.
    Upstream(Response),
    Failed(ApiError<P>),
}

impl<P, F: Into<Failure>> From<F> for Answer<P> {
    fn from(failure: F) -> Self {
        Self::Failed(ApiError::from(failure))
    }
}

impl<P: Protocol> IntoResponse for Answer<P> {
    fn into_response(self) -> Response {
        match self {
            Self::Upstream(response) => response,
            Self::Failed(error) => error.into_response(),
        }
    }
}
