//! [`CloseReason`]: the reason why a stream was closed.

use std::fmt;

/// The reason why a stream was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The generator finished.
    Finished,
    /// The generator returned an error, or yielded a value that could not be sent.
    Failed,
    /// The endpoint responded without starting a stream, for example because an extractor rejected
    /// the request or because the function returned an error as the response.
    Rejected,
    /// The client disconnected, or its connection failed. This reason is reported whenever the body
    /// is dropped before it has ended. This includes `HEAD` requests and streams that a layer
    /// drops, for example when a timeout expires before the response begins.
    ClientGone,
    /// The server shut down.
    Shutdown,
    /// The endpoint's `max_duration` elapsed.
    MaxDuration,
    /// The client's credentials expired. See
    /// [`Connection::expires_at`](crate::Connection::expires_at).
    Expired,
    /// The client's access was revoked. See
    /// [`Connection::close_when`](crate::Connection::close_when).
    Revoked,
    /// The client stopped reading for longer than the server's
    /// [`send_timeout`](crate::Server::send_timeout). Plain `axum::serve` does not detect this.
    Stalled,
    /// The client could not keep up with a [`Topic`](crate::Topic) that
    /// [disconnects](crate::topic::TopicBuilder::disconnect) slow readers.
    Lagged,
    /// A newer stream with the same key replaced this one. See
    /// [`StreamLimit::newest_wins`](crate::StreamLimit::newest_wins).
    Superseded,
    /// The process that was executing a stored [run](crate::Hub::spawn) stopped before the run
    /// ended.
    ProducerLost,
    /// The generator panicked.
    Panicked,
}

impl CloseReason {
    /// The reasons why a stream can be closed after it has begun.
    #[cfg(feature = "metrics")]
    pub(crate) const ALL: [Self; 12] = [
        Self::Finished,
        Self::Failed,
        Self::ClientGone,
        Self::Shutdown,
        Self::MaxDuration,
        Self::Expired,
        Self::Revoked,
        Self::Stalled,
        Self::Lagged,
        Self::Superseded,
        Self::ProducerLost,
        Self::Panicked,
    ];

    /// Returns the reason's name in `snake_case`, as it appears in the `close` event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::ClientGone => "client_gone",
            Self::Shutdown => "shutdown",
            Self::MaxDuration => "max_duration",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Stalled => "stalled",
            Self::Lagged => "lagged",
            Self::Superseded => "superseded",
            Self::ProducerLost => "producer_lost",
            Self::Panicked => "panicked",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
