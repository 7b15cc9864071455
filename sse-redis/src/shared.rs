//! [`Shared`]: the state that the engine and its session share.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use redis::aio::MultiplexedConnection;
use sse_runtime::topic::engine::Feed;
use tokio::{
    sync::{Mutex as AsyncMutex, Notify, watch},
    time::{Instant, timeout},
};

use crate::{config::Config, failure::Failure, scripts::Scripts};

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) scripts: Scripts,
    /// The open connections, or `None` while the session is reconnecting.
    connections: watch::Sender<Option<Connections>>,
    /// The latest of these times: when the connections were opened, when the server last rejected
    /// all writes, and when it last replied late. `None` while the session is reconnecting.
    writable_since: Mutex<Option<Instant>>,
    /// The time at which the last session began, or at which the server last replied to a
    /// heartbeat, whichever is later.
    seen: Mutex<Instant>,
    watched: Mutex<HashSet<Arc<str>>>,
    feed: OnceLock<Feed>,
}

/// The connections of a session.
#[derive(Clone)]
pub(crate) struct Connections {
    /// Runs all commands, except the appends that replicas must confirm.
    pub(crate) commands: MultiplexedConnection,
    /// Runs the appends if replicas must confirm them. `WAIT` blocks the connection, so the lock is
    /// held from each append until the replicas have confirmed it.
    pub(crate) appends: Option<(MultiplexedConnection, Arc<AsyncMutex<()>>)>,
    /// Notified to end the session, which then reconnects.
    pub(crate) lost: Arc<Notify>,
}

impl Shared {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            scripts: Scripts::new(),
            connections: watch::Sender::new(None),
            writable_since: Mutex::default(),
            seen: Mutex::new(Instant::now()),
            watched: Mutex::default(),
            feed: OnceLock::new(),
        }
    }

    /// Waits until the connections are open, but at most for `patience`.
    pub(crate) async fn connected(&self, patience: Duration) -> Result<Connections, Failure> {
        let mut connections = self.connections.subscribe();
        let connected = connections.wait_for(Option::is_some);
        let connected = timeout(patience, connected).await;
        let open = connected
            .ok()
            .and_then(Result::ok)
            .and_then(|connections| connections.clone());
        open.ok_or_else(|| Failure::not_connected(&self.config))
    }

    pub(crate) fn set_connections(&self, connections: Option<Connections>) {
        let since = connections.is_some().then(Instant::now);
        *self.writable_since() = since;
        self.connections.send_replace(connections);
    }

    /// Records that the server currently rejects all writes, or replies too late to renew leases.
    pub(crate) fn set_not_writable(&self) {
        if let Some(since) = &mut *self.writable_since() {
            *since = Instant::now();
        }
    }

    /// Returns whether, as far as is known, the server has accepted writes for at least `time`.
    pub(crate) fn is_writable_for(&self, time: Duration) -> bool {
        self.writable_since()
            .is_some_and(|since| since.elapsed() >= time)
    }

    fn writable_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.writable_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_seen(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(crate) fn is_healthy(&self) -> bool {
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.elapsed() < self.config.unhealthy_after
    }

    /// Returns the topics whose records the feed delivers.
    pub(crate) fn watched(&self) -> MutexGuard<'_, HashSet<Arc<str>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn feed(&self) -> Option<&Feed> {
        self.feed.get()
    }

    pub(crate) fn set_feed(&self, feed: Feed) {
        // The node starts the engine only once.
        let _ = self.feed.set(feed);
    }
}
