//! [`CloseGuard`]: ensures that a stream ends exactly once, with the first reason reported.

use tracing::{Span, span::Entered};

use crate::lifecycle::{
    close_reason::CloseReason,
    connection::{Alive, Connection},
    flow_control::FlowControl,
    record::Record,
    shutdown::Shutdown,
    stream_limit::permit::Permit,
    wire::Wire,
};

/// The state of the connection, which shows whether the client has stopped reading.
#[derive(Debug)]
pub(crate) struct StallSources {
    pub(crate) wire: Option<Wire>,
    pub(crate) flow: Option<FlowControl>,
    /// Whether closing the connection marks the end of the body, as in HTTP/1.0.
    pub(crate) ends_connection: bool,
}

impl StallSources {
    fn is_stalled(&self) -> bool {
        self.wire.as_ref().is_some_and(Wire::is_stalled)
            || self.flow.as_ref().is_some_and(FlowControl::is_stalled)
    }
}

/// A guard that ends its stream when [`end`](Self::end) is called, or when the guard is dropped
/// along with an unfinished body. Only the first reason is recorded.
#[derive(Debug)]
pub(crate) struct CloseGuard {
    connection: Connection,
    record: Record,
    /// The stream's permits, which are released when the stream ends.
    permits: Vec<Permit>,
    stall: StallSources,
    alive: Option<Alive>,
    has_ended: bool,
}

impl CloseGuard {
    pub(crate) fn new(
        connection: Connection,
        record: Record,
        permits: Vec<Permit>,
        stall: StallSources,
        alive: Option<Alive>,
    ) -> Self {
        for permit in &permits {
            permit.bind(&connection);
        }
        Self {
            connection,
            record,
            permits,
            stall,
            alive,
            has_ended: false,
        }
    }

    /// Marks the stream as begun.
    pub(crate) fn begin(&self) {
        for permit in &self.permits {
            permit.begin();
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn record(&mut self) -> &mut Record {
        &mut self.record
    }

    pub(crate) fn span(&self) -> &Span {
        self.record.span()
    }

    /// Marks the response as aborted. If closing the connection marks the end of the response, only
    /// a reset tells the client that the response is incomplete.
    pub(crate) fn abort(&self) {
        if self.stall.ends_connection
            && let Some(wire) = &self.stall.wire
        {
            wire.reset_when_closed();
        }
    }

    /// Enters the stream's span unless it is disabled, because even entering a disabled span has a
    /// cost.
    pub(crate) fn enter_span(&self) -> Option<Entered<'_>> {
        let span = self.span();
        (!span.is_disabled()).then(|| span.enter())
    }

    /// Ends the stream. Called after the generator has been dropped.
    pub(crate) fn end(&mut self, reason: CloseReason) {
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        self.record.ended(reason);
        self.permits.clear();
        self.connection
            .end(reason, self.alive.take(), self.record.span());
    }
}

impl Drop for CloseGuard {
    fn drop(&mut self) {
        let is_over = self.connection.shutdown().is_some_and(Shutdown::is_over);
        self.end(if self.stall.is_stalled() {
            CloseReason::Stalled
        } else if is_over {
            CloseReason::Shutdown
        } else {
            CloseReason::ClientGone
        });
    }
}
