//! [`CloseReason`]: why a stream ended.

use std::fmt;

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The generator came to its end.
    Finished,
    /// The generator ended with an error, or a value of it could not be sent.
    Failed,
    /// The endpoint answered with another response before its stream began: the rejection of an extractor, or what the function
    /// returned as the response's error.
    Rejected,
    /// The client left, or its connection broke off. It is said wherever the body is dropped before its end, so also
    /// where a layer drops it (a timeout before the response), and for `HEAD`.
    ClientGone,
    /// The server stops.
    Shutdown,
    /// The endpoint's `max_duration` is over.
    MaxDuration,
    /// The client's credentials ran out, see [`Connection::expires_at`](crate::Connection::expires_at).
    Expired,
    /// The client's access was taken away, see [`Connection::close_when`](crate::Connection::close_when).
    Revoked,
    /// The client took nothing of what was sent for the server's [`send_timeout`](crate::Server::send_timeout). Under plain
    /// `axum::serve` nobody notices.
    Stalled,
    /// The client read a [`Topic`](crate::Topic) more slowly than was published, and that
    /// [disconnects](crate::topic::TopicBuilder::disconnect) those.
    Lagged,
    /// A newer stream of the same key has taken its place, see [`StreamLimit::newest_wins`](crate::StreamLimit::newest_wins).
    Superseded,
    /// The generator panicked.
    Panicked,
}

impl CloseReason {
    /// Those of streams that have begun.
    #[cfg(feature = "metrics")]
    pub(crate) const ALL: [Self; 11] = [
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
        Self::Panicked,
    ];

    /// Its name in `snake_case`, as `event: close` has it.
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
            Self::Panicked => "panicked",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
