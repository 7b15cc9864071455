//! Tests the updates and sweeps on which presences are based, one request at a time.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use sse_redis::Redis;
use sse_runtime::topic::engine::{Keep, Members, MembersUpdate, Node, NodeLease, Sweep};
use support::{presence::MEMBERS, server::Server, until};

const TOPIC: &str = "presence:lobby";

const KEEP: Keep = Keep {
    events: 10_000,
    bytes: 1 << 30,
    age: None,
};

const LONG: Duration = Duration::from_secs(60);

struct Lobby {
    server: Server,
    redis: Redis,
}

impl Lobby {
    async fn open() -> Self {
        let server = Server::in_memory().await;
        let redis = Redis::open(server.url()).await.unwrap();
        Self { server, redis }
    }

    fn members(&self) -> &dyn Members {
        AsRef::<Node>::as_ref(&self.redis).members().unwrap()
    }

    /// Sends a node's update with this number.
    async fn update(
        &self,
        node: &str,
        number: u64,
        ttl: Duration,
        changes: &[(&str, bool)],
    ) -> NodeLease {
        let changes = changes
            .iter()
            .map(|(who, is_present)| (format!("\"{who}\""), *is_present));
        let changes: Vec<_> = changes.collect();
        let update = MembersUpdate {
            node,
            is_last: false,
            number,
            confirmed: number - 1,
            ttl,
            changes: &changes,
            keep: KEEP,
        };
        self.members().update(TOPIC, update).await.unwrap()
    }

    async fn sweep(&self, sweep: Sweep) -> Option<Sweep> {
        self.members().sweep(TOPIC, sweep, KEEP).await.unwrap()
    }

    /// Returns the members, and the number of the newest change.
    async fn list(&self) -> (Vec<String>, u64) {
        let list = self.members().list(TOPIC).await.unwrap();
        let members = list.members.into_iter();
        let mut members: Vec<_> = members.map(|who| String::from_utf8(who).unwrap()).collect();
        members.sort_unstable();
        (members, list.tail.map_or(0, |tail| tail.newest.number))
    }

    /// Waits until the lease of a node has expired, according to the server.
    async fn until_expired(&self, node: &str, number: &mut u64) {
        until("the lease has expired", async || {
            *number += 1;
            let lease = self.update("observer", *number, LONG, &[]).await;
            lease == valid(&[node])
        })
        .await;
    }
}

fn valid(expired: &[&str]) -> NodeLease {
    NodeLease::Valid {
        expired: expired.iter().map(ToString::to_string).collect(),
    }
}

fn start(nodes: &[&str]) -> Sweep {
    Sweep {
        nodes: nodes.iter().map(ToString::to_string).collect(),
        cursor: None,
    }
}

#[tokio::test]
async fn repeated_update_changes_nothing() {
    let lobby = Lobby::open().await;
    assert_eq!(lobby.list().await, (vec![], 0));
    let changes = [("ada", true), ("bob", true)];
    for number in 1..4 {
        let lease = lobby.update("one", number, LONG, &changes).await;
        assert_eq!(lease, valid(&[]));
        let expected = vec!["\"ada\"".to_owned(), "\"bob\"".to_owned()];
        assert_eq!(lobby.list().await, (expected, 2));
        let nodes: String = lobby.server.run(&["HGET", MEMBERS, "\"ada\""]).await;
        assert_eq!(nodes, "one");
    }
    // Another node's member is not removed.
    lobby.update("two", 1, LONG, &[("ada", false)]).await;
    lobby.update("two", 2, LONG, &[("bob", true)]).await;
    lobby
        .update("one", 4, LONG, &[("bob", false), ("ada", false)])
        .await;
    lobby
        .update("one", 5, LONG, &[("bob", false), ("ada", false)])
        .await;
    assert_eq!(lobby.list().await, (vec!["\"bob\"".to_owned()], 3));
}

#[tokio::test]
async fn unknown_node_is_rejected() {
    let lobby = Lobby::open().await;
    let ada = [("ada", true)];
    assert_eq!(lobby.update("one", 2, LONG, &ada).await, NodeLease::Lost);
    assert_eq!(lobby.update("one", 1, LONG, &[]).await, valid(&[]));
    // The server has lost the second update, or has not received it yet.
    assert_eq!(lobby.update("one", 3, LONG, &ada).await, NodeLease::Lost);
    assert_eq!(lobby.update("one", 1, LONG, &ada).await, NodeLease::Lost);
    assert_eq!(lobby.list().await, (vec![], 0));
    assert_eq!(lobby.update("one", 2, LONG, &ada).await, valid(&[]));
    assert_eq!(lobby.list().await.1, 1);
}

#[tokio::test]
async fn renewed_lease_stops_a_sweep() {
    let lobby = Lobby::open().await;
    lobby
        .update("one", 1, Duration::from_millis(1), &[("ada", true)])
        .await;
    let mut number = 0;
    lobby.until_expired("one", &mut number).await;
    // The node returns in time.
    assert_eq!(lobby.update("one", 2, LONG, &[]).await, valid(&[]));
    assert_eq!(lobby.sweep(start(&["one", "unknown"])).await, None);
    assert_eq!(lobby.list().await.1, 1);
    assert_eq!(lobby.update("one", 3, LONG, &[]).await, valid(&[]));
}

/// A node cannot return during a sweep, because it may have been removed from some of its members.
#[tokio::test]
async fn node_cannot_return_during_a_sweep() {
    let lobby = Lobby::open().await;
    let names: Vec<_> = (0..2_000).map(|n| n.to_string()).collect();
    let changes: Vec<_> = names.iter().map(|who| (&**who, true)).collect();
    lobby
        .update("one", 1, Duration::from_millis(1), &changes)
        .await;
    lobby.update("two", 1, LONG, &[("7", true)]).await;
    let mut number = 0;
    lobby.until_expired("one", &mut number).await;
    let rest = lobby.sweep(start(&["one"])).await.unwrap();
    let (after, changes) = lobby.list().await;
    assert!(after.len() > 1 && after.len() < 2_000, "{}", after.len());
    assert_eq!(lobby.update("one", 2, LONG, &[]).await, NodeLease::Lost);
    assert_eq!(lobby.update("one", 1, LONG, &[]).await, NodeLease::Lost);
    // The node that began the sweep fails as well. Two other nodes repeat the sweep.
    drop(rest);
    number += 1;
    let lease = lobby.update("observer", number, LONG, &[]).await;
    assert_eq!(lease, valid(&["one"]));
    let mut sweeps = vec![start(&["one"]), start(&["one"])];
    while let Some(sweep) = sweeps.pop() {
        if let Some(rest) = lobby.sweep(sweep).await {
            sweeps.insert(0, rest);
        }
    }
    assert_eq!(
        lobby.list().await,
        (vec!["\"7\"".to_owned()], 2_000 + 1_999)
    );
    assert!(changes < 3_999);
    number += 1;
    let lease = lobby.update("observer", number, LONG, &[]).await;
    assert_eq!(lease, valid(&[]));
    // The hash contains only the member and the leases.
    let len: u64 = lobby.server.run(&["HLEN", MEMBERS]).await;
    assert_eq!(len, 2);
}

/// If an event cannot be stored, the change is undone, and both succeed later.
#[tokio::test]
async fn change_without_its_event_is_undone() {
    let lobby = Lobby::open().await;
    let server = &lobby.server;
    lobby.update("one", 1, LONG, &[("ada", true)]).await;
    for (number, changes) in [(2, [("bob", true)]), (3, [("ada", false)])] {
        let () = server.run(&["ACL", "SETUSER", "default", "-xadd"]).await;
        let changes: Vec<_> = changes
            .iter()
            .map(|(who, is_present)| (format!("\"{who}\""), *is_present))
            .collect();
        let before = lobby.list().await;
        let update = MembersUpdate {
            node: "one",
            is_last: false,
            number,
            confirmed: 1,
            ttl: LONG,
            changes: &changes,
            keep: KEEP,
        };
        let updated = lobby.members().update(TOPIC, update).await;
        assert!(updated.is_err(), "{updated:?}");
        assert_eq!(lobby.list().await, before);
        let () = server.run(&["ACL", "SETUSER", "default", "+xadd"]).await;
    }
    let changes = [("bob", true), ("ada", false)];
    assert_eq!(lobby.update("one", 4, LONG, &changes).await, valid(&[]));
    assert_eq!(lobby.list().await, (vec!["\"bob\"".to_owned()], 3));
}
