//! The response to a request over a limit.

use std::time::Duration;

use axum::{
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::BytesMut;
use serde_json::json;

use super::{StreamLimit, permit::Full};
use crate::event::{
    frame::{Fields, Frame, Head},
    media_type,
};

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

    /// Returns how long the client should wait before it retries. The time is random, from 5 to 15
    /// seconds, so that rejected clients do not all retry at the same time.
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
            return reject_event_source(exceeded);
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

/// Returns the rejection for an `EventSource` client. The response ends immediately and tells the
/// client when to reconnect.
fn reject_event_source(exceeded: LimitExceeded) -> Response {
    let mut frame = BytesMut::new();
    let fields = Fields {
        event: Some("close".into()),
        retry: Some(exceeded.retry_after),
        ..Fields::default()
    };
    let mut writing = Frame::new(&mut frame, &fields);
    writing.text(
        Head::default(),
        &json!({ "reason": TOO_MANY_STREAMS }).to_string(),
    );
    writing.finish();
    let headers = [
        (header::CONTENT_TYPE, media_type::CONTENT_TYPE),
        (header::CACHE_CONTROL, media_type::CACHE_CONTROL),
    ];
    (headers, frame.freeze()).into_response()
}

/// Returns whether the client is an `EventSource`, which never reconnects after a status other than
/// `200`. The `accept` header alone is not enough to tell: many other clients also accept event
/// streams, and they would mistake an empty `200` for success.
fn is_event_source(method: &Method, headers: &HeaderMap) -> bool {
    let is_only = |name, value: &str| {
        let mut values = headers.get_all(name).iter();
        values.next().is_some_and(|only| only == value) && values.next().is_none()
    };
    method == Method::GET
        && is_only(header::ACCEPT, "text/event-stream")
        && is_only(header::CACHE_CONTROL, "no-cache")
}
