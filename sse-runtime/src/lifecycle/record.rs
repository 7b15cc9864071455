//! [`Record`]: reports a stream to operators through its span and its metrics.

use std::sync::Arc;

use axum::{extract::MatchedPath, http::request::Parts};
use tokio::time::Instant;
use tracing::{Span, field};

use crate::{
    config::Endpoint,
    lifecycle::{close_reason::CloseReason, connection::Connection, metrics::Instruments},
};

/// The span and the counters of one stream. [`ended`](Self::ended) completes them.
#[derive(Debug)]
pub(crate) struct Record {
    span: Span,
    arrived: Instant,
    instruments: Arc<Instruments>,
    /// Whether the response has begun.
    is_open: bool,
    events: u64,
    bytes: u64,
}

impl Record {
    pub(crate) fn new(
        parts: &Parts,
        endpoint: &Endpoint,
        connection: &Connection,
        instruments: &Arc<Instruments>,
    ) -> Self {
        let span = tracing::info_span!(
            target: "sse_runtime",
            "event_stream",
            endpoint = endpoint.name,
            connection = connection.id(),
            route = route(parts, endpoint),
            peer = connection.peer().map(field::display),
            events = field::Empty,
            bytes = field::Empty,
            duration = field::Empty,
            reason = field::Empty,
        );
        Self {
            span,
            arrived: Instant::now(),
            instruments: Arc::clone(instruments),
            is_open: false,
            events: 0,
            bytes: 0,
        }
    }

    /// Returns the span in which the stream's code runs.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Records that the response begins.
    pub(crate) fn open(&mut self) {
        self.is_open = true;
        self.instruments.opened();
    }

    /// Records that the given numbers of events and bytes have been handed to the connection.
    pub(crate) fn sent(&mut self, events: u64, bytes: usize) {
        if self.events == 0 && events > 0 {
            self.instruments.first_event(self.arrived.elapsed());
        }
        self.events += events;
        self.bytes += bytes as u64;
        self.instruments.sent(events, bytes as u64);
    }

    /// Records that the stream has ended.
    pub(crate) fn ended(&mut self, reason: CloseReason) {
        let duration = self.arrived.elapsed();
        self.span.record("events", self.events);
        self.span.record("bytes", self.bytes);
        self.span.record("duration", field::debug(duration));
        self.span.record("reason", reason.as_str());
        if std::mem::take(&mut self.is_open) {
            self.instruments.closed(reason, duration);
            tracing::debug!(target: "sse_runtime", parent: &self.span, "the stream has ended");
        }
    }
}

/// Returns the path matched by the router, including the prefix if the router is nested.
pub(crate) fn route<'a>(parts: &'a Parts, endpoint: &Endpoint) -> &'a str {
    let matched = parts.extensions.get::<MatchedPath>();
    matched.map_or(endpoint.path, MatchedPath::as_str)
}
