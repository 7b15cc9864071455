//! [`Candidate`]: which responses are taken over, and with which head.

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

use crate::{lifecycle::shutdown::Shutdown, stream::request_context::asks_to_close};

/// A request whose answer can be taken over, if it is an event stream.
#[derive(Debug)]
pub(crate) struct Candidate {
    slot: Slot,
    is_http10: bool,
    keeps_alive: bool,
}

/// Where an event stream waits to be taken over: one for each connection of hyper's.
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
    /// `None` where hyper has to stay, whatever the answer is.
    pub(crate) fn new<B>(request: &Request<B>, slot: &Slot) -> Option<Self> {
        let is_http10 = request.version() == Version::HTTP_10;
        let headers = request.headers();
        // After both a `transfer-encoding` and a `content-length`, which may be an attack, hyper closes the connection, and
        // tells nobody that it will.
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
            // The end of such a stream is that of its connection: there is no other in HTTP/1.0.
            keeps_alive: !is_http10 && !asks_to_close(headers),
        })
    }

    /// Takes the answer to be taken over, or gives it back.
    pub(crate) fn take(self, response: Response, shutdown: &Shutdown) -> Option<Response> {
        if !is_event_stream(&response) {
            return Some(response);
        }
        let (parts, body) = response.into_parts();
        let keeps_alive =
            self.keeps_alive && !asks_to_close(&parts.headers) && !shutdown.has_begun();
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

/// Whether a response is one that is taken over: by what it is, and not by who made it.
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

/// The head, as hyper would write it: what the types of names and values hold has no line break in it.
fn head(headers: &HeaderMap, is_http10: bool, keeps_alive: bool) -> Bytes {
    let mut head = BytesMut::with_capacity(256);
    let version = if is_http10 { "HTTP/1.0" } else { "HTTP/1.1" };
    head.extend_from_slice(version.as_bytes());
    head.extend_from_slice(b" 200 OK\r\n");
    for (name, value) in headers {
        // `keep-alive` would be a promise that is not kept.
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
        // A buffer that grows takes everything.
        let _ = write!(head, "date: {now}\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head.freeze()
}

/// An answer that is an event stream.
#[derive(Debug)]
pub(crate) struct EventStream {
    pub(crate) head: Bytes,
    pub(crate) body: Body,
    pub(crate) is_chunked: bool,
    pub(crate) keeps_alive: bool,
}
