//! [`Failure`]: the cause of a failed request.

use std::{sync::Arc, time::Duration};

use redis::ErrorKind;
use sse_runtime::topic::engine::{AppendError, Unreachable};

use crate::config::Config;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("there is no connection to Redis at {address}")]
    NotConnected { address: Arc<str> },
    #[error("Redis at {address} did not reply within {waited:?}")]
    NoReply { address: Arc<str>, waited: Duration },
    #[error(
        "other events have been waiting for replicas for {waited:?}, so the event was not sent"
    )]
    Busy { waited: Duration },
    #[error("the connection to Redis at {address} was lost: {message}")]
    Lost { address: Arc<str>, message: String },
    #[error("Redis at {address} returned an error: {message}")]
    Server { address: Arc<str>, message: String },
    #[error(
        "the key {key} in Redis does not contain a topic; delete or rename it, or use another \
         `key_prefix`"
    )]
    NotALog { key: String },
    #[error(
        "the key {key} in Redis does not contain the members of a presence; delete or rename it, or \
         use another `key_prefix`"
    )]
    NotMembers { key: String },
    #[error("Redis returned an unexpected reply for the key {key}")]
    Malformed { key: String },
    #[error("only {confirmed} of {wanted} replicas confirmed the event within {waited:?}")]
    Replicas {
        confirmed: usize,
        wanted: usize,
        waited: Duration,
    },
}

impl Failure {
    pub(crate) fn not_connected(config: &Config) -> Self {
        Self::NotConnected {
            address: config.address(),
        }
    }

    pub(crate) fn no_reply(config: &Config, waited: Duration) -> Self {
        Self::NoReply {
            address: config.address(),
            waited,
        }
    }

    /// Converts an error returned by a request for `key`.
    pub(crate) fn from_request(config: &Config, error: &redis::RedisError, key: &str) -> Self {
        let (address, key) = (config.address(), key.to_owned());
        let message = config.without_password(error.to_string());
        if !is_reply(error) {
            return Self::Lost { address, message };
        }
        let is_other = message.contains("WRONGTYPE") || message.contains("NOTALOG");
        match is_other {
            true => Self::NotALog { key },
            false => Self::Server { address, message },
        }
    }

    /// Returns whether it is certain that this request has not stored the record. The script
    /// returns an error only if it has not stored the record.
    fn is_not_stored(&self) -> bool {
        matches!(
            self,
            Self::NotConnected { .. }
                | Self::Busy { .. }
                | Self::Server { .. }
                | Self::NotALog { .. }
        )
    }
}

impl From<Failure> for Unreachable {
    fn from(failure: Failure) -> Self {
        Self(Box::new(failure))
    }
}

impl From<Failure> for AppendError {
    fn from(failure: Failure) -> Self {
        match failure.is_not_stored() {
            true => Self::Unavailable(Box::new(failure)),
            false => Self::Unknown(Box::new(failure)),
        }
    }
}

/// Returns whether the error is a reply from the server rather than a failure of the connection.
pub(crate) fn is_reply(error: &redis::RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
}

/// Returns whether the error means that another server may have become the master.
pub(crate) fn is_demoted(error: &redis::RedisError) -> bool {
    let message = error.to_string();
    // A `WAIT` fails with `UNBLOCKED` if the server becomes a replica in the meantime.
    let known = ["READONLY", "MASTERDOWN", "UNBLOCKED"];
    known.iter().any(|known| message.contains(known))
}

/// Returns whether the error means that the server currently rejects all writes.
pub(crate) fn rejects_writes(error: &redis::RedisError) -> bool {
    let message = error.to_string();
    let known = ["OOM", "MISCONF", "NOREPLICAS"];
    known.iter().any(|known| message.contains(known))
}
