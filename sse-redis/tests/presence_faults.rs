//! Tests presences whose nodes fail, and servers that lose data.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::BTreeSet,
    process::Stdio,
    time::{Duration, Instant},
};

use sse_redis::Redis;
use sse_runtime::{
    Start,
    topic::{GapReason, Presence, PresenceGuard},
};
use support::{
    presence::{
        GRACE, LEASE, MEMBERS, changes, check, history, join_in_runtime, nodes_of, open_brief,
        open_lobby, short, sorted, times_left, until_members,
    },
    proxy::Proxy,
    recv,
    server::Server,
    until,
};
use tokio::{process::Command, time::sleep};

fn join(presence: &Presence<String>, who: &str) -> PresenceGuard<String> {
    presence.join(who.to_owned())
}

/// A failed node cannot report that its members have left, so the other nodes remove them.
#[tokio::test]
async fn members_of_a_failed_node_leave_once() {
    let server = Server::in_memory().await;
    let (one, two) = (
        open_brief(&server.url()).await,
        open_brief(&server.url()).await,
    );
    let _stays = join(&one, "elsewhere too");
    // There are more members than one sweep request checks, and more changes than a topic keeps.
    let mut members: Vec<_> = (0..1_500).map(|n| format!("user {n}")).collect();
    members.push("elsewhere too".to_owned());
    let mut reader = two.changes(Start::Now);
    let reading = tokio::spawn(async move {
        let mut seen = Vec::new();
        while seen.len() < 3_001 {
            seen.push(recv(&mut reader).await.unwrap().unwrap());
        }
        seen
    });
    let (runtime, guards) = join_in_runtime(server.url(), members).await;
    until("all have joined", async || {
        one.count() == 1_501 && nodes_of(&server, "elsewhere too").await == 2
    })
    .await;
    runtime.shutdown_background();
    let died = Instant::now();
    let seen = reading.await.unwrap();
    assert!(died.elapsed() < LEASE + Duration::from_secs(5));
    for node in [&one, &two] {
        until_members(node, &["elsewhere too"]).await;
    }
    // If the removal were not complete, both nodes would repeat it within this time.
    sleep(LEASE).await;
    assert_eq!(check(&seen), BTreeSet::from(["elsewhere too".to_owned()]));
    let times = times_left(&seen);
    assert!(times.len() == 1_500 && times.values().all(|times| *times == 1));
    assert_eq!(nodes_of(&server, "elsewhere too").await, 1);
    let newest = two.changes(Start::Now).position();
    assert_eq!(seen.last().unwrap().0, newest);
    let nodes: String = server.run(&["HGET", MEMBERS, "nodes"]).await;
    assert_eq!(nodes.lines().count(), 2, "{nodes}");
    drop(guards);
}

/// The process that [`killed_process_leaves`] kills.
#[tokio::test]
#[ignore = "runs as a process of another test"]
async fn process_to_kill() {
    let Ok(url) = std::env::var("PRESENCE_URL") else {
        return;
    };
    let presence = open_lobby(&url).await;
    let _ada = join(&presence, "ada");
    std::future::pending::<()>().await;
}

/// This test uses the default lease of 10 seconds.
#[tokio::test]
async fn killed_process_leaves_within_15_seconds() {
    let server = Server::in_memory().await;
    let one = open_lobby(&server.url()).await;
    let _bob = join(&one, "bob");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["process_to_kill", "--exact", "--ignored"])
        .env("PRESENCE_URL", server.url())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    until_members(&one, &["ada", "bob"]).await;
    // A node removes the members of other nodes only after the engine has been available for the
    // duration of a lease.
    sleep(Duration::from_secs(10)).await;
    child.kill().await.unwrap();
    let killed = Instant::now();
    until_members(&one, &["bob"]).await;
    let elapsed = killed.elapsed();
    assert!((6.0..16.0).contains(&elapsed.as_secs_f64()), "{elapsed:?}");
    assert_eq!(changes(&one).await, ["+bob 1", "+ada 2", "-ada 1"]);
}

#[tokio::test]
async fn paused_node_leaves_and_joins_once() {
    let server = Server::in_memory().await;
    let proxy = Proxy::start(server.port()).await;
    let (one, two) = (
        open_brief(&server.url()).await,
        open_brief(&proxy.url()).await,
    );
    let (_ada, _bob) = (join(&one, "ada"), join(&two, "bob"));
    let gone = join(&two, "gone");
    until("three members are present", async || one.count() == 3).await;
    proxy.black_hole();
    until_members(&one, &["ada"]).await;
    drop(gone);
    let _cyd = join(&two, "cyd");
    sleep(GRACE * 2).await;
    assert_eq!(changes(&one).await.len(), 5);
    proxy.heal();
    for node in [&one, &two] {
        until_members(node, &["ada", "bob", "cyd"]).await;
    }
    sleep(LEASE * 2).await;
    let log = history(&one).await;
    check(&log);
    assert_eq!(log.len(), 7, "{log:?}");
    assert_eq!(history(&two).await, log);
    assert_eq!(sorted(&one), ["ada", "bob", "cyd"]);
}

/// While the server is away, all leases expire.
#[tokio::test]
async fn restarted_server_causes_no_events() {
    let mut server = Server::durable().await;
    let nodes = [
        open_brief(&server.url()).await,
        open_brief(&server.url()).await,
        open_brief(&server.url()).await,
    ];
    let guards: Vec<_> = (0..9)
        .map(|n| join(&nodes[n % 3], &format!("user {n}")))
        .collect();
    for node in &nodes {
        until("nine members are present", async || node.count() == 9).await;
    }
    for down in [LEASE * 2, Duration::ZERO] {
        server.kill().await;
        sleep(down).await;
        server.restart().await;
        sleep(LEASE * 3).await;
    }
    for node in &nodes {
        assert_eq!(node.count(), 9);
        assert_eq!(history(node).await.len(), 9);
    }
    drop(guards);
    for node in &nodes {
        until_members(node, &[]).await;
    }
    assert_eq!(check(&history(&nodes[0]).await), BTreeSet::new());
}

/// The members were stored by nodes that no longer exist.
#[tokio::test]
async fn members_from_before_a_restart_leave() {
    let server = Server::in_memory().await;
    let (runtime, guards) = join_in_runtime(server.url(), vec!["ada".to_owned()]).await;
    until("ada is stored", async || {
        nodes_of(&server, "ada").await == 1
    })
    .await;
    runtime.shutdown_background();
    let presence = open_brief(&server.url()).await;
    assert_eq!(sorted(&presence), ["ada"]);
    until_members(&presence, &[]).await;
    assert_eq!(changes(&presence).await, ["+ada 1", "-ada 0"]);
    drop(guards);
}

#[tokio::test]
async fn flushed_server_learns_the_members_again() {
    let server = Server::in_memory().await;
    let (one, two) = (
        open_lobby(&server.url()).await,
        open_lobby(&server.url()).await,
    );
    let (_ada, _both) = (join(&one, "ada"), join(&one, "both"));
    let (_bob, _too) = (join(&two, "bob"), join(&two, "both"));
    let gone = join(&two, "gone");
    for node in [&one, &two] {
        until_members(node, &["ada", "bob", "both", "gone"]).await;
    }
    let mut reader = one.changes(Start::Now);
    let () = server.run(&["FLUSHALL"]).await;
    drop(gone);
    for node in [&one, &two] {
        until_members(node, &["ada", "bob", "both"]).await;
    }
    until("both nodes have reported again", async || {
        nodes_of(&server, "both").await == 2 && server.run::<u64>(&["HLEN", MEMBERS]).await == 4
    })
    .await;
    let gap = recv(&mut reader).await.unwrap().unwrap_err();
    assert_eq!(gap.reason(), GapReason::OtherEpoch);
    let log = history(&one).await;
    assert_eq!(check(&log), one.members().into_iter().collect());
    assert_eq!(history(&two).await, log);
    let _dan = join(&one, "dan");
    until_members(&two, &["ada", "bob", "both", "dan"]).await;
}

#[tokio::test]
async fn restart_without_aof_restores_the_members() {
    let mut server = Server::in_memory().await;
    let (one, two) = (
        open_lobby(&server.url()).await,
        open_lobby(&server.url()).await,
    );
    let (_ada, _bob) = (join(&one, "ada"), join(&two, "bob"));
    until_members(&one, &["ada", "bob"]).await;
    server.kill().await;
    server.restart().await;
    until("both members are stored", async || {
        nodes_of(&server, "ada").await == 1 && nodes_of(&server, "bob").await == 1
    })
    .await;
    for node in [&one, &two] {
        until_members(node, &["ada", "bob"]).await;
        let log = history(node).await;
        assert_eq!(check(&log).len(), 2);
    }
}

/// A failover loses the updates that the replica has not received.
#[tokio::test]
async fn lost_updates_are_reported_again() {
    let server = Server::in_memory().await;
    let (one, two) = (
        open_lobby(&server.url()).await,
        open_lobby(&server.url()).await,
    );
    let _ada = join(&one, "ada");
    until_members(&two, &["ada"]).await;
    let copies = async |keys: &[&str]| {
        let mut copies: Vec<Vec<u8>> = Vec::new();
        for key in keys {
            copies.push(server.run(&["DUMP", key]).await);
        }
        copies
    };
    let keys = [MEMBERS, "sse:log:presence:lobby", "sse:keys:presence:lobby"];
    let old = copies(&keys).await;
    let _bob = join(&one, "bob");
    let cyd = join(&two, "cyd");
    until("all are present", async || {
        one.count() == 3 && two.count() == 3 && nodes_of(&server, "cyd").await == 1
    })
    .await;
    for (key, copy) in keys.iter().zip(old) {
        let () = server.restore(key, &copy).await;
    }
    drop(cyd);
    until("bob is reported again", async || {
        nodes_of(&server, "bob").await == 1
    })
    .await;
    for node in [&one, &two] {
        until_members(node, &["ada", "bob"]).await;
    }
    let log = history(&two).await;
    assert_eq!(check(&log), BTreeSet::from(["ada".into(), "bob".into()]));
    assert!(short(&log[0].1).starts_with("+ada"));
}

/// The other node cannot read changes that the topic no longer keeps.
#[tokio::test]
async fn members_are_read_again_after_a_gap() {
    let server = Server::in_memory().await;
    let proxy = Proxy::start(server.port()).await;
    let (one, two) = (
        open_lobby(&server.url()).await,
        open_lobby(&proxy.url()).await,
    );
    let mut reader = two.changes(Start::Now);
    proxy.black_hole();
    proxy.cut();
    let _ada = join(&one, "ada");
    until("ada has joined", async || {
        nodes_of(&server, "ada").await == 1
    })
    .await;
    let guards: Vec<_> = (0..600).map(|n| join(&one, &format!("user {n}"))).collect();
    let members = async || server.run::<u64>(&["HLEN", MEMBERS]).await;
    until("all have joined", async || members().await == 602).await;
    drop(guards);
    until("all have left", async || members().await == 2).await;
    proxy.heal();
    until_members(&two, &["ada"]).await;
    assert!(recv(&mut reader).await.unwrap().is_err());
    let _bob = join(&one, "bob");
    until_members(&two, &["ada", "bob"]).await;
}

/// Messages and connections are lost while the members change.
#[tokio::test]
async fn lost_messages_are_noticed() {
    let server = Server::in_memory().await;
    let proxy = Proxy::start(server.port()).await;
    let one = open_lobby(&server.url()).await;
    let redis = Redis::open(proxy.url()).await.unwrap();
    let two = Presence::open(&redis, "lobby", GRACE).await.unwrap();
    proxy.drop_messages(true);
    let ada = join(&one, "ada");
    until_members(&two, &["ada"]).await;
    drop(ada);
    until_members(&two, &[]).await;
    assert_eq!(changes(&two).await, ["+ada 1", "-ada 0"]);
}
