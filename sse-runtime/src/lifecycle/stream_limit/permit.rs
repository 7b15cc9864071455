//! [`Permit`]: permission to open a stream. Every limit has a fixed number of permits.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{http::request::Parts, response::Response};

use super::{StreamLimit, layer::Limits};
use crate::lifecycle::connection::Connection;

/// A limit's permits. The limit counts the streams holding a permit.
pub(super) trait Permits: Send + Sync {
    /// Acquires a permit. Returns `None` if this limit does not apply to the request.
    fn take(self: Arc<Self>, request: &Parts) -> Option<Result<Permit, Full>>;

    /// Returns a limit that has the same permits and lets a new stream end the oldest one with the
    /// same key. Returns `None` if the limit has no keys.
    fn newest_wins(self: Arc<Self>) -> Option<Arc<dyn Permits>>;

    /// Returns whether a new stream ends an older one once the limit has been reached. If so, a
    /// permit is always available.
    fn is_newest_wins(&self) -> bool {
        false
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// A stream's permit. The permit is released once this value and all its clones have been dropped.
///
/// A stream can take over a clone from the stream it replaces. The two streams then share one
/// permit until the older one has ended.
#[derive(Clone)]
pub(crate) struct Permit(pub(super) Arc<dyn Held>);

impl Permit {
    /// Sets the stream's connection.
    pub(crate) fn bind(&self, connection: &Connection) {
        self.0.bind(connection);
    }

    /// Marks the stream as begun. From then on, the stream's request can no longer be rejected.
    pub(crate) fn begin(&self) {
        self.0.begin();
    }
}

/// A permit held by a stream. The default methods are for limits that only count their permits,
/// regardless of which stream holds which permit.
pub(super) trait Held: Send + Sync {
    fn bind(&self, _: &Connection) {}

    fn begin(&self) {}

    /// Returns whether this is a permit that `limit` would give to the request.
    fn is_of(&self, _: &StreamLimit, _: &Parts) -> bool {
        false
    }

    /// Takes over a full limit's permit from a stream that ends to make room for this one.
    fn take_over(&self, _: &StreamLimit, _: &Parts) -> Option<Permit> {
        None
    }

    /// Called once the stream has a permit from every limit. The slice contains the stream's
    /// permits from the limits without `newest_wins`.
    fn admit(&self, _: &[Permit]) {}
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}

/// The kind of limit that caused a rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// A limit on the total number of streams.
    Total,
    /// A limit on the number of streams per key.
    Key,
}

impl Full {
    #[cfg(feature = "metrics")]
    pub(crate) const ALL: [Self; 2] = [Self::Total, Self::Key];

    /// Returns the name used in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Key => "key",
        }
    }
}

/// The rejection of a request because a limit has no permits left.
pub(crate) struct Rejected {
    pub(crate) full: Full,
    pub(crate) response: Response,
}

/// Acquires a permit from each limit. If a limit has no permits left, the permits already acquired
/// are released. A stream that replaces another one may take over that stream's permits.
pub(crate) fn acquire_permits(request: &Parts) -> Result<Vec<Permit>, Box<Rejected>> {
    let Some(Limits(limits)) = request.extensions.get() else {
        return Ok(Vec::new());
    };
    let (newest, others): (Vec<_>, Vec<_>) = limits
        .iter()
        .partition(|limit| limit.permits.is_newest_wins());
    let take = |limit: &StreamLimit| Arc::clone(&limit.permits).take(request);
    let rejected = |limit: &StreamLimit, full| {
        let response = limit.reject(full, request);
        Box::new(Rejected { full, response })
    };

    // Ensure that a concurrent request sees this stream either with all of its permits or not at
    // all. A request that saw only some of the permits might miss one that its stream could take
    // over.
    let _one_at_a_time =
        (!newest.is_empty()).then(|| ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner));
    let mut replacing = Vec::with_capacity(newest.len());
    for limit in newest {
        if let Some(taken) = take(limit) {
            replacing.push(taken.map_err(|full| rejected(limit, full))?);
        }
    }
    let mut permits = Vec::with_capacity(limits.len());
    for limit in others {
        match take(limit) {
            None => {}
            Some(Ok(permit)) => permits.push(permit),
            Some(Err(full)) => {
                let taken_over = replacing
                    .iter()
                    .find_map(|newer| newer.0.take_over(limit, request));
                permits.push(taken_over.ok_or_else(|| rejected(limit, full))?);
            }
        }
    }
    for newer in &replacing {
        newer.0.admit(&permits);
    }
    permits.extend(replacing);
    Ok(permits)
}

/// Locked while permits are acquired for a stream that may replace another one.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
