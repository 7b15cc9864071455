//! What the stream needs to know of the request.

use axum::{
    http::{HeaderMap, Method, Version, header, request::Parts},
    response::Response,
};

use crate::{
    event::{
        id::EventId,
        last_event_id::{self, SentDone},
    },
    lifecycle::{
        close_guard::{CloseGuard, StallSources},
        connection::Connection,
        flow_control::FlowControl,
        record::Record,
        stream_limit,
        wire::{InFlight, Wire},
    },
    stream::mounted::MountedEndpoint,
};

/// Taken before the extractors run, which may take the request apart.
#[derive(Debug)]
pub(crate) struct RequestContext {
    pub(crate) version: Version,
    /// Only the head is asked for.
    pub(crate) is_head: bool,
    /// The connection is closed after this response, or may be.
    pub(crate) closes: bool,
    pub(crate) last_id: Option<EventId>,
    /// The client returns to a stream that told it that it is over.
    pub(crate) done: Option<SentDone>,
    /// The socket, where it can say that it has taken what was written. It looks out for the client from now on.
    pub(crate) wire: Option<InFlight>,
    /// Ends with the stream.
    pub(crate) guard: CloseGuard,
}

impl RequestContext {
    /// # Errors
    ///
    /// Returns the response if there is no room for one more stream.
    pub(crate) fn new(parts: &Parts, mounted: &MountedEndpoint) -> Result<Self, Box<Response>> {
        let sent = last_event_id::sent(parts);
        let instruments = mounted.instruments(parts);
        let is_head = parts.method == Method::HEAD;
        let places = stream_limit::take_places(parts).map_err(|rejected| {
            instruments.rejected(rejected.full);
            tracing::debug!(
                endpoint = mounted.endpoint.name,
                limit = rejected.full.as_str(),
                "there is no room for one more stream"
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
            // After both a `transfer-encoding` and a `content-length`, which may be an attack, hyper closes the connection, and
            // has removed one of the two.
            closes: asks_to_close(&parts.headers)
                || parts.headers.contains_key(header::TRANSFER_ENCODING),
            last_id: sent.and_then(|sent| EventId::last_of(sent.ok()?)),
            done: SentDone::of(parts),
            is_head,
            guard: CloseGuard::new(
                connection,
                record,
                places,
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
    /// The id that the client has sent of a stream that is over, for the log.
    pub(crate) fn sent_done(&self) -> Option<String> {
        self.done.as_ref()?;
        Some(EventId::done(self.last_id.as_ref()).to_string())
    }
}

/// Whether `close` is among what is said of the connection.
pub(crate) fn asks_to_close(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case("close"))
}
