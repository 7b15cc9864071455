//! Functions shared by the tests of presences.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sse_redis::Redis;
use sse_runtime::{
    EventId, Start,
    topic::{Presence, PresenceEvent, PresenceGuard},
};
use tokio::runtime::Runtime;

use super::{recv, server::Server, until};

pub const MEMBERS: &str = "sse:members:presence:lobby";

/// The grace time of most tests.
pub const GRACE: Duration = Duration::from_millis(100);

/// A short lease, for tests in which leases expire.
pub const LEASE: Duration = Duration::from_secs(2);

pub type Change = PresenceEvent<String>;

/// Opens the presence `lobby` on a new connection, so that it behaves like the presence of another
/// server.
pub async fn open_lobby(url: &str) -> Presence<String> {
    let redis = Redis::open(url).await.unwrap();
    Presence::open(&redis, "lobby", GRACE).await.unwrap()
}

/// Like [`open_lobby`], with a short lease.
pub async fn open_brief(url: &str) -> Presence<String> {
    let redis = Redis::open(url).await.unwrap();
    let opened = Presence::open_with_lease(&redis, "lobby", GRACE, LEASE).await;
    opened.unwrap()
}

pub fn sorted(presence: &Presence<String>) -> Vec<String> {
    let mut members = presence.members();
    members.sort_unstable();
    assert_eq!(members.len(), presence.count());
    members
}

/// Waits until a node knows exactly these members.
pub async fn until_members(presence: &Presence<String>, expected: &[&str]) {
    until(&format!("the members are {expected:?}"), async || {
        sorted(presence) == expected
    })
    .await;
}

/// Returns the number of nodes at which a member is present, according to the server.
pub async fn nodes_of(server: &Server, who: &str) -> usize {
    let field = format!("\"{who}\"");
    let nodes: Option<String> = server.run(&["HGET", MEMBERS, &field]).await;
    nodes.map_or(0, |nodes| nodes.split(' ').count())
}

pub fn short(change: &Change) -> String {
    match change {
        Change::Joined { who, count } => format!("+{who} {count}"),
        Change::Left { who, count } => format!("-{who} {count}"),
        other => panic!("{other:?}"),
    }
}

/// Returns all changes that a node has received so far.
pub async fn history(presence: &Presence<String>) -> Vec<(EventId, Change)> {
    let newest = presence.changes(Start::Now).position();
    let mut reader = presence.changes(Start::First);
    let mut changes: Vec<(EventId, Change)> = Vec::new();
    if reader.position() == newest {
        return changes;
    }
    while changes.last().is_none_or(|(id, _)| *id != newest) {
        changes.push(recv(&mut reader).await.unwrap().unwrap());
    }
    changes
}

pub async fn changes(presence: &Presence<String>) -> Vec<String> {
    let history = history(presence).await;
    history.iter().map(|(_, change)| short(change)).collect()
}

/// Checks that each member's changes alternate, and that all counts are correct. Returns the members
/// that are present after the last change.
pub fn check(history: &[(EventId, Change)]) -> BTreeSet<String> {
    let mut present = BTreeSet::new();
    for (id, change) in history {
        let count = match change {
            Change::Joined { who, count } => {
                assert!(present.insert(who.clone()), "{who} joined twice: {id}");
                count
            }
            Change::Left { who, count } => {
                assert!(present.remove(who), "{who} left twice: {id}");
                count
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(present.len(), *count, "at {id}");
    }
    present
}

/// Returns how many times each member has left.
pub fn times_left(history: &[(EventId, Change)]) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for (_, change) in history {
        if let Change::Left { who, .. } = change {
            *times.entry(who.clone()).or_default() += 1;
        }
    }
    times
}

/// Opens the presence in a separate runtime, and adds members.
pub async fn join_in_runtime(
    url: String,
    members: Vec<String>,
) -> (Runtime, Vec<PresenceGuard<String>>) {
    let runtime = Runtime::new().unwrap();
    let joined = runtime.spawn(async move {
        let presence = open_brief(&url).await;
        members.into_iter().map(|who| presence.join(who)).collect()
    });
    let guards = joined.await.unwrap();
    (runtime, guards)
}
