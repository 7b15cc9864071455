//! What the stream needs to know of the request.

use axum::http::{HeaderMap, Version, header, request::Parts};

use crate::{Connection, EventId, connection::EndGuard, flushes::Flushes, id, last_event_id};

/// Taken before the extractors run, which may take the request apart.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) version: Version,
    /// The client closes the connection after this response.
    pub(crate) closes: bool,
    pub(crate) last_id: Option<EventId>,
    /// How the socket says that it has taken what was written, where it can.
    pub(crate) flushes: Option<Flushes>,
    /// Ends with the stream.
    pub(crate) guard: EndGuard,
}

impl Arrival {
    /// `None`, where the client comes back to a stream that told it that it is over for good.
    pub(crate) fn new(parts: &Parts) -> Option<Self> {
        let sent = last_event_id::sent(parts);
        if let Some(Ok(sent)) = &sent
            && sent.ends_with(id::DONE)
        {
            return None;
        }
        let http1 = parts.version <= Version::HTTP_11;
        Some(Self {
            version: parts.version,
            closes: asks_to_close(&parts.headers),
            last_id: sent.and_then(|sent| EventId::new(sent.ok()?).ok()),
            flushes: parts.extensions.get().filter(|_| http1).cloned(),
            guard: EndGuard::new(
                Connection::new(&parts.extensions),
                parts.extensions.get().cloned(),
            ),
        })
    }
}

fn asks_to_close(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case("close"))
}
