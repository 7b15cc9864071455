//! [`TryLater`]: the rejection of a request that may succeed later.

use std::time::Duration;

use axum::{
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::BytesMut;
use serde_json::json;

use super::{
    frame::{Fields, Frame, Head},
    media_type,
};

/// The rejection of a request that may succeed later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TryLater {
    /// The reason in the `close` event that an `EventSource` receives.
    pub(crate) reason: &'static str,
    /// How long the client should wait before it tries again.
    pub(crate) after: Duration,
}

/// The extension of a response that was created from a [`TryLater`].
#[derive(Clone, Copy, Debug)]
struct Sent {
    later: TryLater,
    status: StatusCode,
}

impl TryLater {
    /// Returns a rejection with a random delay of 2 to 8 seconds, so that rejected clients do not
    /// all try again at the same time.
    pub(crate) fn soon(reason: &'static str) -> Self {
        Self {
            reason,
            after: Duration::from_millis(fastrand::u64(2_000..8_000)),
        }
    }

    /// Returns a response with a `Retry-After` header. The response also contains `self` in an
    /// extension, so that the endpoint can replace the response if the client is an `EventSource`.
    pub(crate) fn into_response(self, status: StatusCode) -> Response {
        let mut response = status.into_response();
        let after = HeaderValue::from(self.after.as_secs());
        response.headers_mut().insert(header::RETRY_AFTER, after);
        let later = self;
        response.extensions_mut().insert(Sent { later, status });
        response
    }

    /// Returns the rejection from which a response was created, if any, unless the response's
    /// status has been changed since.
    pub(crate) fn of(response: &Response) -> Option<Self> {
        let sent: &Sent = response.extensions().get()?;
        (sent.status == response.status()).then_some(sent.later)
    }

    /// Returns the response for an `EventSource`. The response ends immediately and tells the client
    /// when to reconnect.
    pub(crate) fn into_event_stream(self) -> Response {
        let mut frame = BytesMut::new();
        let fields = Fields {
            event: Some("close".into()),
            retry: Some(self.after),
            ..Fields::default()
        };
        let mut writing = Frame::new(&mut frame, &fields);
        writing.text(
            Head::default(),
            &json!({ "reason": self.reason }).to_string(),
        );
        writing.finish();
        let headers = [
            (header::CONTENT_TYPE, media_type::CONTENT_TYPE),
            (header::CACHE_CONTROL, media_type::CACHE_CONTROL),
        ];
        (headers, frame.freeze()).into_response()
    }
}

/// Returns whether the client is an `EventSource`, which never reconnects after a status other than
/// `200`. The `accept` header alone is not enough to tell: many other clients also accept event
/// streams, and they would mistake an empty `200` for success.
pub(crate) fn is_event_source(method: &Method, headers: &HeaderMap) -> bool {
    let is_only = |name, value: &str| {
        let mut values = headers.get_all(name).iter();
        values.next().is_some_and(|only| only == value) && values.next().is_none()
    };
    method == Method::GET
        && is_only(header::ACCEPT, "text/event-stream")
        && is_only(header::CACHE_CONTROL, "no-cache")
}
