//! Tests presences that several nodes share.

#![allow(clippy::unwrap_used)]

mod support;

use std::{collections::BTreeSet, time::Duration};

use sse_redis::Redis;
use sse_runtime::{
    Start,
    topic::{OpenError, Presence, PresenceError, PresenceGuard},
};
use support::{
    presence::{
        GRACE, MEMBERS, changes, check, history, nodes_of, open_lobby, short, sorted, times_left,
        until_members,
    },
    proxy::Proxy,
    recv,
    server::Server,
    until,
};
use tokio::time::sleep;

fn join(presence: &Presence<String>, who: &str) -> PresenceGuard<String> {
    presence.join(who.to_owned())
}

#[tokio::test]
async fn members_of_all_nodes_join_and_leave_once() {
    let server = Server::in_memory().await;
    let one = open_lobby(&server.url()).await;
    let two = open_lobby(&server.url()).await;
    let ada = join(&one, "ada");
    assert_eq!(
        sorted(&one),
        ["ada"],
        "a member is seen at once at its node"
    );
    until_members(&two, &["ada"]).await;
    let bob = join(&two, "bob");
    until_members(&one, &["ada", "bob"]).await;
    let three = open_lobby(&server.url()).await;
    assert_eq!(sorted(&three), ["ada", "bob"]);
    drop(ada);
    for node in [&one, &two, &three] {
        until_members(node, &["bob"]).await;
    }
    drop(bob);
    for node in [&one, &two, &three] {
        until_members(node, &[]).await;
        assert_eq!(
            changes(node).await,
            ["+ada 1", "+bob 2", "-ada 1", "-bob 0"]
        );
    }
    assert_eq!(history(&one).await, history(&three).await);
}

#[tokio::test]
async fn moving_member_causes_no_events() {
    let server = Server::in_memory().await;
    let (one, two) = (
        open_lobby(&server.url()).await,
        open_lobby(&server.url()).await,
    );
    let mut here = join(&one, "ada");
    until_members(&two, &["ada"]).await;
    for round in 0..6 {
        drop(here);
        here = join(if round % 2 == 0 { &two } else { &one }, "ada");
        until("ada has moved", async || {
            nodes_of(&server, "ada").await == 2
        })
        .await;
        until("ada has left the other node", async || {
            nodes_of(&server, "ada").await == 1
        })
        .await;
    }
    drop(here);
    until_members(&one, &[]).await;
    until_members(&two, &[]).await;
    assert_eq!(changes(&one).await, ["+ada 1", "-ada 0"]);
}

#[tokio::test]
async fn member_at_two_nodes_leaves_with_the_second() {
    let server = Server::in_memory().await;
    let (one, two) = (
        open_lobby(&server.url()).await,
        open_lobby(&server.url()).await,
    );
    let (here, there) = (join(&one, "ada"), join(&two, "ada"));
    let tab = join(&two, "ada");
    until("ada is at both nodes", async || {
        nodes_of(&server, "ada").await == 2
    })
    .await;
    drop(here);
    drop(tab);
    until("ada is at one node", async || {
        nodes_of(&server, "ada").await == 1
    })
    .await;
    assert_eq!(changes(&two).await, ["+ada 1"]);
    drop(there);
    until_members(&one, &[]).await;
    assert_eq!(changes(&two).await, ["+ada 1", "-ada 0"]);
}

#[tokio::test]
async fn client_resumes_changes_at_another_node() {
    let server = Server::in_memory().await;
    let (one, two) = (
        open_lobby(&server.url()).await,
        open_lobby(&server.url()).await,
    );
    let mut reader = one.changes(Start::Now);
    let guards: Vec<_> = (0..20).map(|n| join(&one, &format!("user {n}"))).collect();
    let mut ids = Vec::new();
    for _ in &guards {
        let (id, change) = recv(&mut reader).await.unwrap().unwrap();
        ids.push((id, short(&change)));
    }
    for (at, (id, _)) in ids.iter().enumerate() {
        let mut resumed = two.changes(id.clone());
        for expected in &ids[at + 1..] {
            let (id, change) = recv(&mut resumed).await.unwrap().unwrap();
            assert_eq!((id, short(&change)), *expected);
        }
    }
}

/// A subscriber that reads the members after it has subscribed does not miss any changes.
#[tokio::test]
async fn members_include_changes_before_subscription() {
    let server = Server::in_memory().await;
    let (one, two) = (
        open_lobby(&server.url()).await,
        open_lobby(&server.url()).await,
    );
    let mut arrivals = two.changes(Start::Now);
    for number in 0..200 {
        std::mem::forget(join(&one, &number.to_string()));
        let mut reader = two.changes(Start::Now);
        let mut known: BTreeSet<_> = two.members().into_iter().collect();
        // Whenever a subscriber has received a change, the members include it.
        let (_, change) = recv(&mut arrivals).await.unwrap().unwrap();
        let (_, count) = short(&change)
            .split_once(' ')
            .map(|(a, b)| (a.to_owned(), b.parse::<usize>().unwrap()))
            .unwrap();
        assert!(two.count() >= count, "{change:?}");
        while known.len() < two.count() {
            let (_, change) = recv(&mut reader).await.unwrap().unwrap();
            known.insert(short(&change)[1..].split(' ').next().unwrap().to_owned());
        }
        assert_eq!(known, two.members().into_iter().collect());
    }
}

#[tokio::test]
async fn dropped_presence_leaves_and_disconnects() {
    let server = Server::in_memory().await;
    let one = open_lobby(&server.url()).await;
    let two = open_lobby(&server.url()).await;
    let guards: Vec<_> = (0..500).map(|n| join(&two, &format!("user {n}"))).collect();
    drop(two);
    until("all have joined", async || one.count() == 500).await;
    drop(guards);
    until_members(&one, &[]).await;
    until("the connections are closed", async || {
        let clients = server.info("clients", "connected_clients").await;
        // The two connections of the other node, and the one that runs this command.
        clients.unwrap() == "3"
    })
    .await;
    let nodes: String = server.run(&["HGET", MEMBERS, "nodes"]).await;
    assert_eq!(nodes.lines().count(), 1, "{nodes}");
    assert_eq!(check(&history(&one).await), BTreeSet::new());
    assert_eq!(history(&one).await.len(), 1_000);
}

#[tokio::test]
async fn members_wait_while_the_server_is_away() {
    let mut server = Server::durable().await;
    let (one, two) = (
        open_lobby(&server.url()).await,
        open_lobby(&server.url()).await,
    );
    let _ada = join(&one, "ada");
    let bob = join(&two, "bob");
    until_members(&one, &["ada", "bob"]).await;
    until_members(&two, &["ada", "bob"]).await;
    server.kill().await;
    drop(bob);
    let _cyd = join(&two, "cyd");
    for number in 0..1_000 {
        drop(join(&two, &format!("visitor {number}")));
    }
    sleep(GRACE * 3).await;
    assert_eq!(sorted(&two), ["ada", "bob", "cyd"]);
    server.restart().await;
    until_members(&one, &["ada", "cyd"]).await;
    until_members(&two, &["ada", "cyd"]).await;
    let log = history(&one).await;
    check(&log);
    // Visitors that came and went during the outage are not reported, except those in the pending
    // request.
    assert!(log.len() <= 4 + 400, "{}", log.len());
    let left = times_left(&log);
    assert_eq!((left.get("ada"), left.get("bob")), (None, Some(&1)));
}

#[tokio::test]
async fn random_changes_converge_on_all_nodes() {
    let server = Server::in_memory().await;
    let proxy = Proxy::start(server.port()).await;
    let nodes = [
        open_lobby(&server.url()).await,
        open_lobby(&server.url()).await,
        open_lobby(&proxy.url()).await,
    ];
    let mut reader = nodes[0].changes(Start::Now);
    let mut present: Vec<(String, PresenceGuard<String>)> = Vec::new();
    let mut random = fastrand::Rng::with_seed(7);
    for step in 0..600 {
        if random.bool() || present.is_empty() {
            let who = format!("user {}", random.u8(..12));
            let guard = join(&nodes[random.usize(..3)], &who);
            present.push((who, guard));
        } else {
            drop(present.swap_remove(random.usize(..present.len())));
        }
        match step % 100 {
            30 => proxy.cut(),
            60 => {
                let _: u64 = server.run(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
            }
            _ => sleep(Duration::from_millis(random.u64(..15))).await,
        }
    }
    let truth: BTreeSet<String> = present.iter().map(|(who, _)| who.clone()).collect();
    let expected: Vec<&str> = truth.iter().map(String::as_str).collect();
    for node in &nodes {
        until_members(node, &expected).await;
    }
    // After the grace time of the last departures, nothing changes any more.
    sleep(GRACE * 3).await;
    let log = history(&nodes[0]).await;
    assert!(log.len() > 50, "{}", log.len());
    for node in &nodes {
        until_members(node, &expected).await;
        assert_eq!(history(node).await, log);
    }
    assert_eq!(check(&log), truth);
    for expected in log {
        assert_eq!(recv(&mut reader).await.unwrap().unwrap(), expected);
    }
}

/// A request that the server receives late must not undo later requests.
#[tokio::test]
async fn delayed_update_is_ignored() {
    let server = Server::in_memory().await;
    let proxy = Proxy::start(server.port()).await;
    let (one, two) = (
        open_lobby(&server.url()).await,
        open_lobby(&proxy.url()).await,
    );
    let bob = join(&two, "bob");
    until_members(&one, &["bob"]).await;
    proxy.stall();
    let ada = join(&two, "ada");
    // The request has been sent. The node then replaces its connections and repeats the request.
    sleep(Duration::from_millis(200)).await;
    let _: u64 = server.run(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    until_members(&one, &["ada", "bob"]).await;
    drop((ada, bob));
    until_members(&one, &[]).await;
    let calls = async || server.calls("evalsha").await;
    let before = calls().await;
    proxy.heal();
    until("the delayed request is processed", async || {
        calls().await > before + 2
    })
    .await;
    sleep(GRACE).await;
    assert_eq!(server.run::<u64>(&["HLEN", MEMBERS]).await, 1);
    check(&history(&one).await);
    assert_eq!(history(&one).await.len(), 4);
}

#[tokio::test]
async fn key_of_another_type_is_an_error() {
    let server = Server::in_memory().await;
    let redis = Redis::open(server.url()).await.unwrap();
    let () = server.run(&["SET", MEMBERS, "text"]).await;
    let opened = Presence::<String>::open(&redis, "lobby", GRACE).await;
    let error = opened.unwrap_err();
    assert!(
        matches!(error, PresenceError::Open(OpenError::TimedOut { .. })),
        "{error}"
    );
    assert!(error.to_string().contains(MEMBERS), "{error}");
    let text: String = server.run(&["GET", MEMBERS]).await;
    assert_eq!(text, "text");
    // Other presences can be opened.
    let other = Presence::open(&redis, "other", GRACE).await.unwrap();
    let _ada = join(&other, "ada");
    until("ada is stored", async || {
        server
            .run::<u64>(&["HLEN", "sse:members:presence:other"])
            .await
            == 2
    })
    .await;
}

#[tokio::test]
async fn full_server_delays_changes() {
    let server = Server::in_memory().await;
    let (one, two) = (
        open_lobby(&server.url()).await,
        open_lobby(&server.url()).await,
    );
    let _ada = join(&one, "ada");
    until_members(&two, &["ada"]).await;
    let () = server.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let bob = join(&one, "bob");
    let _cyd = join(&one, "cyd");
    sleep(GRACE).await;
    drop(bob);
    sleep(GRACE * 3).await;
    assert_eq!(sorted(&two), ["ada"]);
    let () = server.run(&["CONFIG", "SET", "maxmemory", "0"]).await;
    until_members(&two, &["ada", "cyd"]).await;
    check(&history(&two).await);
}
