//! [`Candidate`]: decides which responses are taken over, and builds their heads.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use axum::{
    body::{Body, HttpBody as _},
    http::{HeaderMap, Method, Request, StatusCode, Version, header},
    response::Response,
};
use bytes::{Bytes, BytesMut};
use hyper::{ext::ReasonPhrase, upgrade::OnUpgrade};

use crate::{lifecycle::shutdown::Shutdown, stream::request_context::requests_close};

/// A request whose response is taken over if it is an event stream.
#[derive(Debug)]
pub(crate) struct Candidate {
    slot: Slot,
    is_http10: bool,
    keeps_alive: bool,
}

/// Holds an event stream until it is taken over. Each hyper connection has one slot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot(Arc<Mutex<Option<EventStream>>>);

impl Slot {
    pub(crate) fn take(&self) -> Option<EventStream> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<EventStream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Candidate {
    /// Returns `None` if hyper must send the response, whether or not the response is an event
    /// stream.
    pub(crate) fn new<B>(request: &Request<B>, slot: &Slot) -> Option<Self> {
        let is_http10 = request.version() == Version::HTTP_10;
        let headers = request.headers();
        // A request with both `transfer-encoding` and `content-length` may be an attack. hyper
        // closes the connection after such a request but does not report this in advance, so every
        // request with `transfer-encoding` is left to hyper.
        if request.method() == Method::HEAD
            || headers.contains_key(header::EXPECT)
            || headers.contains_key(header::TRANSFER_ENCODING)
            || request.extensions().get::<OnUpgrade>().is_some()
        {
            return None;
        }
        Some(Self {
            slot: slot.clone(),
            is_http10,
            // Over HTTP/1.0, the only way to end a stream is to close the connection.
            keeps_alive: !is_http10 && !requests_close(headers),
        })
    }

    /// Moves the response to the slot and returns `None` if it is an event stream. Otherwise,
    /// returns the response.
    pub(crate) fn take(self, response: Response, shutdown: &Shutdown) -> Option<Response> {
        if !is_event_stream(&response) {
            return Some(response);
        }
        let (parts, body) = response.into_parts();
        let keeps_alive =
            self.keeps_alive && !requests_close(&parts.headers) && !shutdown.has_begun();
        let stream = EventStream {
            head: head(&parts.headers, self.is_http10, keeps_alive),
            body,
            is_chunked: !self.is_http10,
            keeps_alive,
        };
        *self.slot.lock() = Some(stream);
        None
    }
}

/// Returns whether a response is taken over. The result depends only on the response, not on the
/// code that created it.
fn is_event_stream(response: &Response) -> bool {
    let headers = response.headers();
    let is_of_its_type = headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        let essence = value.as_bytes().split(|byte| *byte == b';').next();
        essence.is_some_and(|essence| {
            essence
                .trim_ascii()
                .eq_ignore_ascii_case(b"text/event-stream")
        })
    });
    let is_framed = [
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::TRAILER,
        header::UPGRADE,
    ]
    .iter()
    .any(|name| headers.contains_key(name));
    is_of_its_type
        && !is_framed
        && response.status() == StatusCode::OK
        && response.extensions().get::<ReasonPhrase>().is_none()
        && response.body().size_hint().exact().is_none()
}

/// Builds the response head as hyper would. Header names and values cannot contain line breaks, so
/// they are copied unchanged.
fn head(headers: &HeaderMap, is_http10: bool, keeps_alive: bool) -> Bytes {
    let mut head = BytesMut::with_capacity(256);
    let version = if is_http10 { "HTTP/1.0" } else { "HTTP/1.1" };
    head.extend_from_slice(version.as_bytes());
    head.extend_from_slice(b" 200 OK\r\n");
    for (name, value) in headers {
        // The connection will be closed, so omit the app's `connection` header, which may contain
        // `keep-alive`.
        if name == header::CONNECTION && !keeps_alive {
            continue;
        }
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    if !is_http10 {
        if !keeps_alive {
            head.extend_from_slice(b"connection: close\r\n");
        }
        head.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    if !headers.contains_key(header::DATE) {
        let now = httpdate::HttpDate::from(SystemTime::now());
        // Writing to a growable buffer cannot fail.
        let _ = write!(head, "date: {now}\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head.freeze()
}

/// A response that is an event stream.
#[derive(Debug)]
pub(crate) struct EventStream {
    pub(crate) head: Bytes,
    pub(crate) body: Body,
    pub(crate) is_chunked: bool,
    pub(crate) keeps_alive: bool,
}
