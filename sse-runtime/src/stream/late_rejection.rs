//! The event that replaces an error response if the head has already been sent because of
//! `head_after`.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{
    body::HttpBody as _,
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use serde_json::{Value, json};

use crate::{
    config::Endpoint,
    event::{event::Event, problem::Permanent, try_later::TryLater},
};

/// Returns the event for an error response. Its data is the response's body if the body is JSON, and
/// otherwise an RFC 9457 problem with the response's status.
///
/// An `EventSource` never reconnects after an error status. After this event, it reconnects unless
/// the status means that the same request would fail again.
pub(super) fn event(response: Response, endpoint: &Endpoint) -> Event<Value> {
    let status = response.status();
    let retry = match TryLater::of(&response) {
        Some(later) => Some(later.after),
        None => retry_after(response.headers()),
    };
    let would_fail_again = status.is_client_error()
        && !matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        );
    let is_marked = response.extensions().get::<Permanent>().is_some();
    let is_permanent = is_marked || would_fail_again && retry.is_none();
    let problem = || json!({ "title": status.canonical_reason(), "status": status.as_u16() });
    let data = json_body(response).unwrap_or_else(problem);
    let event = Event::json(data).event(endpoint.error_event);
    match retry {
        _ if is_permanent => event.stops(),
        Some(retry) => event.retry(retry),
        None => event,
    }
}

/// Returns the delay in the `Retry-After` header (RFC 9110, section 10.2.3). A date is ignored.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    seconds.parse().ok().map(Duration::from_secs)
}

/// Returns the body if it is JSON and consists of a single frame, as the bodies of `Json` and of
/// problems do.
fn json_body(response: Response) -> Option<Value> {
    let media_type = response
        .headers()
        .get(header::CONTENT_TYPE)?
        .to_str()
        .ok()?;
    let media_type = media_type.split(';').next()?.trim();
    if media_type != "application/json" && !media_type.ends_with("+json") {
        return None;
    }
    let mut body = response.into_body();
    let mut cx = Context::from_waker(Waker::noop());
    match Pin::new(&mut body).poll_frame(&mut cx) {
        Poll::Ready(Some(Ok(frame))) if body.is_end_stream() => {
            serde_json::from_slice(frame.data_ref()?).ok()
        }
        _ => None,
    }
}
