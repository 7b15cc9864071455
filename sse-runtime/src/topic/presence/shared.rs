//! [`Task`]: synchronizes a presence with the members that an engine stores.
//!
//! ```text
//! join, leave ──> Outbox ──> Reporter ──update──> engine ──changes──> Everywhere ──> members()
//!                                                   └───────list──────────^
//! ```
//!
//! The reporter sends this node's changes and renews the node's lease. The follower waits for
//! changes on all nodes, and reads the list of members again if it may have missed any changes.

use std::{
    future::{pending, poll_fn},
    hash::Hash,
    sync::{Arc, Weak},
    time::Duration,
};

use serde::Serialize;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{Inner, PresenceEvent, keep, outbox::Outbox};
use crate::{
    event::json,
    topic::{
        Key,
        backend::{Read, Reader},
        engine::{Backoff, MemberList, MembersUpdate, Node, NodeLease, Sweep, Unreachable},
    },
};

/// The time limit for each request.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The delays between attempts to reach the engine.
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));

/// The background task of a presence that an engine stores.
pub(super) struct Task<K> {
    pub(super) presence: Weak<Inner<K>>,
    pub(super) outbox: Arc<Outbox<K>>,
    /// Wakes the task when the engine delivers a change.
    pub(super) changes: Box<dyn Reader<PresenceEvent<K>>>,
    pub(super) store: Store,
}

/// A presence's members in the engine.
#[derive(Clone)]
pub(super) struct Store {
    pub(super) node: Node,
    pub(super) topic: Arc<str>,
    /// The duration of the node's lease.
    pub(super) ttl: Duration,
}

impl Store {
    async fn update(&self, update: MembersUpdate<'_>) -> Result<NodeLease, Unreachable> {
        match self.node.members() {
            Some(members) => in_time(members.update(&self.topic, update)).await,
            None => Err(unsupported()),
        }
    }

    pub(super) async fn list(&self) -> Result<MemberList, Unreachable> {
        match self.node.members() {
            Some(members) => in_time(members.list(&self.topic)).await,
            None => Err(unsupported()),
        }
    }

    /// Removes nodes from all members.
    async fn sweep(self, nodes: Vec<String>) {
        // Several nodes notice an expired lease at about the same time, but one sweep is enough.
        sleep(self.ttl.mul_f64(fastrand::f64() / 10.0)).await;
        let topic = &*self.topic;
        tracing::debug!(topic, ?nodes, "removing nodes whose leases have expired");
        let mut next = Some(Sweep {
            nodes,
            cursor: None,
        });
        while let Some(sweep) = next {
            let Some(members) = self.node.members() else {
                return;
            };
            match in_time(members.sweep(topic, sweep, keep())).await {
                Ok(rest) => next = rest,
                Err(error) => {
                    // The engine's next reply lists the nodes as expired again.
                    tracing::debug!(topic, %error, "failed to remove a node from a presence");
                    return;
                }
            }
        }
    }
}

/// Returns the error if the engine does not store presences. This cannot happen, because opening a
/// presence then fails.
fn unsupported() -> Unreachable {
    Unreachable("the engine does not store presences".into())
}

async fn in_time<R>(
    request: impl Future<Output = Result<R, Unreachable>>,
) -> Result<R, Unreachable> {
    let replied = timeout(TIMEOUT, request).await;
    replied.unwrap_or_else(|elapsed| Err(Unreachable(elapsed.into())))
}

impl<K> Task<K>
where
    K: Hash + Eq + Clone + Serialize + Send + Sync + 'static,
{
    /// Runs until the presence has been dropped and its members have left.
    pub(super) async fn run(self) {
        let Self {
            presence,
            outbox,
            changes,
            store,
        } = self;
        let reporter = Reporter::new(Arc::clone(&outbox), store.clone());
        tokio::select! {
            () = reporter.run() => {}
            () = follow(&presence, &outbox, changes, &store) => {}
        }
    }
}

/// Follows the changes on all nodes.
async fn follow<K>(
    presence: &Weak<Inner<K>>,
    outbox: &Outbox<K>,
    mut changes: Box<dyn Reader<PresenceEvent<K>>>,
    store: &Store,
) where
    K: Hash + Eq + Clone + Serialize + Send + Sync + 'static,
{
    let mut has_ended = false;
    loop {
        let is_lost = tokio::select! {
            read = poll_fn(|cx| changes.poll_read(cx)), if !has_ended => {
                has_ended = matches!(read, Read::End | Read::Failed(_));
                false
            }
            () = outbox.lost.notified() => true,
        };
        let is_stale = match presence.upgrade() {
            Some(presence) => presence.is_stale(is_lost),
            // The presence has been dropped. The task ends when the reporter does.
            None => return pending().await,
        };
        if !is_stale {
            continue;
        }
        // If the engine has lost events, it may have lost this node's members as well.
        outbox.changed.notify_one();
        let list = list_stubbornly(store).await;
        if let Some(presence) = presence.upgrade() {
            presence.set_everywhere(list);
        }
    }
}

async fn list_stubbornly(store: &Store) -> MemberList {
    let mut backoff = RETRY;
    loop {
        match store.list().await {
            Ok(list) => return list,
            Err(error) => {
                let topic = &*store.topic;
                tracing::debug!(topic, %error, "failed to read the members of a presence; trying again");
            }
        }
        backoff.wait().await;
    }
}

/// Reports this node's members to the engine, and removes other nodes whose leases have expired.
struct Reporter<K> {
    outbox: Arc<Outbox<K>>,
    store: Store,
    lease: Lease,
    /// The time of the last confirmed update.
    confirmed_at: Option<Instant>,
    /// The time since which all updates have been confirmed without interruption.
    steady_since: Option<Instant>,
    /// Whether a failed update has been logged as a warning during this outage.
    is_reported: bool,
}

/// The node's lease in the engine.
struct Lease {
    /// The node's id. Whenever the lease is lost, the node gets a new one.
    node: String,
    /// The number of the last update sent.
    sent: u64,
    /// The number of the last update confirmed.
    confirmed: u64,
}

impl Lease {
    fn new() -> Self {
        Self {
            node: Key::random().to_string(),
            sent: 0,
            confirmed: 0,
        }
    }
}

impl<K> Reporter<K>
where
    K: Hash + Eq + Clone + Serialize + Send + Sync + 'static,
{
    fn new(outbox: Arc<Outbox<K>>, store: Store) -> Self {
        Self {
            outbox,
            store,
            lease: Lease::new(),
            confirmed_at: None,
            steady_since: None,
            is_reported: false,
        }
    }

    /// Runs until the presence has been dropped and its members have left.
    async fn run(mut self) {
        let interval = self.store.ttl.mul_f64(0.3);
        let mut backoff = RETRY;
        let mut sweeps = JoinSet::new();
        loop {
            let is_closed = self.outbox.is_closed();
            let next = match self.report(is_closed).await {
                Ok(_) if is_closed => return,
                Ok(expired) => {
                    backoff.reset();
                    if !expired.is_empty() && sweeps.is_empty() && self.is_steady() {
                        sweeps.spawn(self.store.clone().sweep(expired));
                    }
                    Instant::now() + interval
                }
                // The lease has expired, so other nodes remove the members.
                Err(_) if is_closed && self.has_expired() => return,
                Err(error) => {
                    self.has_failed(&error);
                    // New changes do not end this delay. The next attempt reports them as well.
                    backoff.wait().await;
                    continue;
                }
            };
            tokio::select! {
                () = self.outbox.changed.notified() => {}
                () = sleep_until(next) => {}
                Some(_) = sweeps.join_next() => {}
            }
        }
    }

    /// Renews the lease and reports all changes. Returns the nodes whose leases have expired.
    async fn report(&mut self, is_closed: bool) -> Result<Vec<String>, Unreachable> {
        let mut is_lost_again = false;
        loop {
            let changes = self.outbox.next();
            let is_last = is_closed && changes.is_empty();
            let changes = encode(changes);
            if is_last && self.lease.sent == 0 {
                return Ok(Vec::new());
            }
            self.lease.sent += 1;
            let update = MembersUpdate {
                node: &self.lease.node,
                is_last,
                number: self.lease.sent,
                confirmed: self.lease.confirmed,
                ttl: self.store.ttl,
                changes: &changes,
                keep: keep(),
            };
            match self.store.update(update).await? {
                NodeLease::Valid { expired } => {
                    self.lease.confirmed = self.lease.sent;
                    self.has_succeeded();
                    let has_more = self.outbox.confirm();
                    if !has_more && (is_last || !is_closed) {
                        return Ok(expired);
                    }
                }
                // The engine has already removed the members.
                NodeLease::Lost if is_closed => return Ok(Vec::new()),
                NodeLease::Lost => {
                    self.lease = Lease::new();
                    self.steady_since = None;
                    self.outbox.lose();
                    self.outbox.lost.notify_one();
                    if is_lost_again {
                        return Err(Unreachable("the engine rejects every lease".into()));
                    }
                    is_lost_again = true;
                }
            }
        }
    }

    fn has_succeeded(&mut self) {
        if self.is_reported {
            self.is_reported = false;
            let topic = &*self.store.topic;
            tracing::info!(topic, "reported the members of a presence again");
        }
        // The process or the machine may have been suspended.
        if self.has_expired() {
            self.steady_since = None;
        }
        let now = Instant::now();
        self.steady_since.get_or_insert(now);
        self.confirmed_at = Some(now);
    }

    fn has_failed(&mut self, error: &Unreachable) {
        self.steady_since = None;
        let topic = &*self.store.topic;
        if self.is_reported {
            tracing::debug!(topic, %error, "failed to report the members of a presence; trying again");
        } else {
            tracing::warn!(topic, %error, "failed to report the members of a presence; trying again");
            self.is_reported = true;
        }
    }

    fn has_expired(&self) -> bool {
        let is_recent = |at: Instant| at.elapsed() < self.store.ttl;
        !self.confirmed_at.is_some_and(is_recent)
    }

    /// Returns whether another node's expired lease means that the node has failed. After an outage
    /// of the engine, the leases of all nodes may have expired, and the other nodes need time to
    /// renew theirs.
    fn is_steady(&self) -> bool {
        let since = self.steady_since;
        since.is_some_and(|since| since.elapsed() >= self.store.ttl)
    }
}

/// Converts the members to JSON on a single line. Skips members that cannot be converted.
fn encode<K: Serialize>(changes: Vec<(K, bool)>) -> Vec<(String, bool)> {
    let encode = |(who, is_present): (K, bool)| {
        let mut json = Vec::new();
        let encoded = who.serialize(&mut json::line::serializer(&mut json));
        match encoded.map(|()| String::from_utf8(json)) {
            Ok(Ok(json)) => Some((json, is_present)),
            Ok(Err(_)) => None,
            Err(error) => {
                tracing::error!(%error, "failed to encode a member of a presence");
                None
            }
        }
    };
    changes.into_iter().filter_map(encode).collect()
}
