//! [`RequestContext`]: the parts of a request that its stream needs.

use axum::{
    http::{HeaderMap, Method, Version, header, request::Parts},
    response::Response,
};

use crate::{
    event::{
        id::EventId,
        last_event_id::{self, SentDone},
        try_later::{self, TryLater},
    },
    lifecycle::{
        close_guard::{CloseGuard, StallSources},
        connection::Connection,
        flow_control::FlowControl,
        record::Record,
        stream_limit::permit,
        wire::{InFlight, Wire},
    },
    stream::mounted::MountedEndpoint,
};

/// A stream's context. It is created before the extractors run, because they may remove parts of
/// the request.
#[derive(Debug)]
pub(crate) struct RequestContext {
    pub(crate) version: Version,
    /// Whether this is a `HEAD` request.
    pub(crate) is_head: bool,
    /// Whether the client is an `EventSource`.
    is_event_source: bool,
    /// Whether hyper may close the connection after this response.
    pub(crate) closes: bool,
    pub(crate) last_id: Option<EventId>,
    /// The id of a finished stream, if the client sent one.
    pub(crate) done: Option<SentDone>,
    /// The HTTP/1 connection, if it counts its flushes. The connection watches for a disconnect
    /// until this value is dropped.
    pub(crate) wire: Option<InFlight>,
    /// Ends the stream when dropped, unless the stream has already ended.
    pub(crate) guard: CloseGuard,
}

impl RequestContext {
    /// Collects the context and acquires a permit from each limit that applies to the stream.
    ///
    /// # Errors
    ///
    /// Returns the rejection response if one of the limits has been reached.
    pub(crate) fn new(parts: &Parts, mounted: &MountedEndpoint) -> Result<Self, Box<Response>> {
        let sent = last_event_id::sent(parts);
        let instruments = mounted.instruments(parts);
        let is_head = parts.method == Method::HEAD;
        let permits = permit::acquire_permits(parts).map_err(|rejected| {
            instruments.rejected(rejected.full);
            tracing::debug!(
                endpoint = mounted.endpoint.name,
                limit = rejected.full.as_str(),
                "rejected a stream because a limit was reached"
            );
            Box::new(rejected.response)
        })?;
        let http1 = parts.version <= Version::HTTP_11;
        let wire: Option<Wire> = parts.extensions.get().cloned();
        let flow: Option<FlowControl> = parts.extensions.get().cloned();
        let connection = Connection::new(&parts.extensions);
        let record = Record::new(parts, &mounted.endpoint, &connection, &instruments);
        Ok(Self {
            version: parts.version,
            // A request with both `transfer-encoding` and `content-length` may be an attack, so
            // hyper closes the connection after responding. By now, hyper has already removed one
            // of the headers, so assume that every request with `transfer-encoding` had both.
            closes: requests_close(&parts.headers)
                || parts.headers.contains_key(header::TRANSFER_ENCODING),
            last_id: sent.and_then(|sent| EventId::last_of(sent.ok()?)),
            done: SentDone::of(parts),
            is_head,
            is_event_source: try_later::is_event_source(&parts.method, &parts.headers),
            guard: CloseGuard::new(
                connection,
                record,
                permits,
                StallSources {
                    wire: wire.clone(),
                    flow,
                    ends_connection: parts.version <= Version::HTTP_10,
                },
                parts.extensions.get().cloned(),
            ),
            wire: wire.filter(|_| http1).as_ref().map(Wire::enter),
        })
    }
}

impl RequestContext {
    /// Returns the response to a request that an extractor or the handler has rejected. If the
    /// request may succeed later and the client is an `EventSource`, returns an event stream instead,
    /// because an `EventSource` does not reconnect after an error status.
    pub(crate) fn reject(&self, response: Response) -> Response {
        match TryLater::of(&response) {
            Some(later) if self.is_event_source => later.into_event_stream(),
            _ => response,
        }
    }

    /// Returns the id sent by the client, or `None` if it isn't the id of a finished stream. Used
    /// in log messages.
    pub(crate) fn sent_done(&self) -> Option<String> {
        self.done.as_ref()?;
        Some(EventId::done(self.last_id.as_ref()).to_string())
    }
}

/// Returns whether a `connection` header contains `close`.
pub(crate) fn requests_close(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case("close"))
}
