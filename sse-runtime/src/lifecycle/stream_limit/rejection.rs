//! The response to a request over a limit.

use std::time::Duration;

use axum::{
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{StreamLimit, permit::Full};
use crate::event::try_later::{TryLater, is_event_source};

/// The rejection of a request by a [`StreamLimit`].
///
/// This type converts into the limit's default response: a problem details object with the status
/// `503` or `429` and a `Retry-After` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitExceeded {
    full: Full,
    retry_after: Duration,
}

impl LimitExceeded {
    fn new(full: Full) -> Self {
        Self {
            full,
            retry_after: Duration::from_millis(fastrand::u64(5_000..15_000)),
        }
    }

    /// Returns `503`, or `429` if the limit is per key or per peer.
    pub fn status(self) -> StatusCode {
        match self.full {
            Full::Total => StatusCode::SERVICE_UNAVAILABLE,
            Full::Key => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// Returns how long the client should wait before it retries. The time is random, at least 5 and
    /// less than 15 seconds, so that rejected clients do not all retry at the same time. By
    /// default, the `Retry-After` header contains this time, rounded down to whole seconds.
    pub fn retry_after(self) -> Duration {
        self.retry_after
    }
}

impl IntoResponse for LimitExceeded {
    fn into_response(self) -> Response {
        let status = self.status();
        let problem = json!({
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": "too many event streams are open",
            "code": TOO_MANY_STREAMS,
        });
        let headers = [
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/problem+json"),
            ),
            (
                header::RETRY_AFTER,
                HeaderValue::from(self.retry_after.as_secs()),
            ),
        ];
        (status, headers, problem.to_string()).into_response()
    }
}

/// The code in the problem details object, which is also the reason in the `close` event.
const TOO_MANY_STREAMS: &str = "too_many_streams";

impl StreamLimit {
    /// Returns the response to a request over the limit.
    pub(super) fn reject(&self, full: Full, request: &Parts) -> Response {
        let exceeded = LimitExceeded::new(full);
        if is_event_source(&request.method, &request.headers) {
            let later = TryLater {
                reason: TOO_MANY_STREAMS,
                after: exceeded.retry_after,
            };
            return later.into_event_stream();
        }
        let Some(reject) = &self.reject else {
            return exceeded.into_response();
        };
        let mut response = reject(exceeded);
        if response.status().is_success() {
            *response.status_mut() = exceeded.status();
        }
        response
            .headers_mut()
            .entry(header::RETRY_AFTER)
            .or_insert_with(|| HeaderValue::from(exceeded.retry_after.as_secs()));
        response
    }
}
