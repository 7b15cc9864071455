//! Tests masters that are monitored by sentinels.

#![allow(clippy::unwrap_used)]

mod support;

use std::{collections::HashSet, time::Duration};

use sse_redis::{Redis, RedisError};
use sse_runtime::{
    EventId, Start, Topic,
    topic::{GapReason, Subscription},
};
use support::{
    open_numbers, open_topic,
    output::Output,
    proxy::Proxy,
    publish_all, publish_stubbornly, read_all, recv,
    replication::{demoted, master, proxied_replica_of, replica_of, replicated},
    sentinels::{NAME, ONE, Sentinels, Settings, THREE},
    server::{IN_MEMORY, Server, free_port},
    take, until, values,
};

const PASSWORD: &str = "hunter2-and-more";

/// Waits until the node is connected to the server on this port.
async fn connected_to(redis: &Redis, port: u16) {
    let address = format!("\"127.0.0.1:{port}\"");
    until("the node is connected to the new master", async || {
        format!("{redis:?}").contains(&address) && redis.is_healthy()
    })
    .await;
}

/// The value that is published last.
const LAST: u64 = u64::MAX;

/// Reads up to the last value. Returns the events, divided at the gaps.
async fn read_until_last(mut reader: Subscription<u64>) -> Vec<Vec<(EventId, u64)>> {
    let mut parts = vec![Vec::new()];
    loop {
        match recv(&mut reader).await.unwrap() {
            Ok((id, value)) => {
                parts.last_mut().unwrap().push((id, value));
                if value == LAST {
                    return parts;
                }
            }
            Err(gap) => {
                assert_eq!(gap.reason(), GapReason::RolledBack);
                parts.push(Vec::new());
            }
        }
    }
}

#[tokio::test]
async fn streams_continue_after_the_master_is_killed() {
    let mut master = master().await;
    let replica = replica_of(master.port()).await;
    let sentinels = Sentinels::start(master.port(), THREE).await;
    // The first sentinel is down.
    let (scheme, rest) = ("redis+sentinel://127.0.0.1:", sentinels.url());
    let rest = rest.strip_prefix("redis+sentinel://").unwrap();
    let url = format!("{scheme}{},{rest}", free_port());
    let (_one, here) = open_numbers(&url).await;
    let (_other, there) = open_numbers(&url).await;
    let readers = [&here, &there].map(|topic| topic.subscribe(Start::First));
    let readers = readers.map(|reader| tokio::spawn(read_until_last(reader)));
    let publishing = tokio::spawn(async move {
        for value in 0..3_000 {
            publish_stubbornly(&here, value.into(), value).await;
        }
        publish_stubbornly(&here, LAST.into(), LAST).await;
    });
    until("the replica has received events", async || {
        let stored: u64 = replica.run(&["XLEN", "sse:log:numbers"]).await;
        stored > 500
    })
    .await;
    master.kill().await;
    publishing.await.unwrap();
    let (_third, numbers) = open_numbers(&url).await;
    let log = read_all(&numbers).await;
    let stored: HashSet<_> = log.iter().collect();
    let distinct: HashSet<_> = log.iter().map(|(_, value)| value).collect();
    assert_eq!(distinct.len(), log.len(), "an event is stored twice");
    for reader in readers {
        let parts = reader.await.unwrap();
        let (last, rolled_back) = parts.split_last().unwrap();
        assert!(log.ends_with(last));
        for part in rolled_back {
            let lost = part.iter().filter(|event| !stored.contains(event));
            assert!(lost.count() > 0, "a gap without a lost event");
        }
        let kept = parts
            .iter()
            .flatten()
            .filter(|event| stored.contains(event));
        assert!(kept.eq(&log), "an event was skipped or repeated");
    }
}

#[tokio::test]
async fn replicated_events_survive_a_failover() {
    let mut master = master().await;
    let replica = replica_of(master.port()).await;
    let sentinels = Sentinels::start(master.port(), THREE).await;
    let (redis, numbers) = open_numbers(&sentinels.url()).await;
    let (_other, there) = open_numbers(&sentinels.url()).await;
    let mut reader = there.subscribe(Start::First);
    let ids = publish_all(&numbers, 0..10).await;
    take(&mut reader, 5).await;
    replicated(&master, &replica).await;
    master.kill().await;
    for value in 10..20 {
        publish_stubbornly(&numbers, value.into(), value).await;
    }
    connected_to(&redis, replica.port()).await;
    assert_eq!(take(&mut reader, 15).await, Vec::from_iter(5..20));
    let mut returning = there.subscribe(ids[9].clone());
    assert_eq!(take(&mut returning, 10).await, Vec::from_iter(10..20));
    publish_all(&numbers, 20..22).await;
    assert_eq!(take(&mut reader, 2).await, [20, 21]);
    // The old master becomes a replica.
    master.restart().await;
    demoted(&master).await;
    publish_all(&numbers, 22..25).await;
    assert_eq!(take(&mut reader, 3).await, [22, 23, 24]);
    assert_eq!(values(&read_all(&there).await), Vec::from_iter(0..25));
}

#[tokio::test]
async fn requested_failover_is_followed() {
    let master = master().await;
    let replica = replica_of(master.port()).await;
    let sentinels = Sentinels::start(master.port(), THREE).await;
    let (redis, numbers) = open_numbers(&sentinels.url()).await;
    let (other, there) = open_numbers(&sentinels.url()).await;
    let mut reader = there.subscribe(Start::First);
    publish_all(&numbers, 0..10).await;
    replicated(&master, &replica).await;
    let sentinel = &sentinels.servers[0];
    until("the failover begins", async || {
        let begun: Result<(), _> = sentinel.try_run(&["SENTINEL", "FAILOVER", NAME]).await;
        begun.is_ok()
    })
    .await;
    // Until the nodes have disconnected from the old master, it may accept events that it then
    // loses.
    connected_to(&redis, replica.port()).await;
    connected_to(&other, replica.port()).await;
    for value in 10..20 {
        publish_stubbornly(&numbers, value.into(), value).await;
    }
    assert_eq!(take(&mut reader, 20).await, Vec::from_iter(0..20));
    demoted(&master).await;
    publish_all(&numbers, 20..25).await;
    assert_eq!(take(&mut reader, 5).await, Vec::from_iter(20..25));
    assert_eq!(values(&read_all(&there).await), Vec::from_iter(0..25));
}

/// The old master still responds to the node, but not to the sentinels.
#[tokio::test]
async fn node_leaves_a_master_that_was_replaced() {
    let master = master().await;
    let proxy = Proxy::start(master.port()).await;
    let replica = replica_of(proxy.port()).await;
    let sentinels = Sentinels::start(proxy.port(), THREE).await;
    let (redis, numbers) = open_numbers(&sentinels.url()).await;
    let mut reader = numbers.subscribe(Start::First);
    publish_all(&numbers, 0..5).await;
    connected_to(&redis, proxy.port()).await;
    replicated(&master, &replica).await;
    proxy.reject_sentinels(true);
    connected_to(&redis, replica.port()).await;
    for value in 5..10 {
        publish_stubbornly(&numbers, value.into(), value).await;
    }
    assert_eq!(take(&mut reader, 10).await, Vec::from_iter(0..10));
    let role = master.info("replication", "role").await;
    assert_eq!(role.as_deref(), Some("master"));
    let (_direct, there) = open_numbers(&replica.url()).await;
    assert_eq!(values(&read_all(&there).await), Vec::from_iter(0..10));
    proxy.reject_sentinels(false);
    demoted(&master).await;
    publish_all(&numbers, 10..12).await;
    assert_eq!(take(&mut reader, 2).await, [10, 11]);
}

/// The old master does not respond until another one has been promoted.
#[tokio::test]
async fn paused_master_is_left() {
    let master = master().await;
    let replica = replica_of(master.port()).await;
    let sentinels = Sentinels::start(master.port(), THREE).await;
    let redis = Redis::builder().publish_timeout(Duration::from_millis(500));
    let redis = redis.open(sentinels.url()).await.unwrap();
    let numbers = open_topic(&redis, "numbers").await;
    let mut reader = numbers.subscribe(Start::First);
    publish_all(&numbers, 0..5).await;
    replicated(&master, &replica).await;
    master.signal("STOP").await;
    for value in 5..10 {
        publish_stubbornly(&numbers, value.into(), value).await;
    }
    connected_to(&redis, replica.port()).await;
    // The old master now executes the requests that it has not replied to.
    master.signal("CONT").await;
    demoted(&master).await;
    publish_all(&numbers, 10..12).await;
    assert_eq!(take(&mut reader, 12).await, Vec::from_iter(0..12));
    assert_eq!(values(&read_all(&numbers).await), Vec::from_iter(0..12));
}

#[tokio::test]
async fn lost_events_are_rolled_back() {
    const LOST: u64 = 3;
    let mut master = master().await;
    let (replica, replication) = proxied_replica_of(&master).await;
    // Because of this timeout, the sentinel does not connect the replica to the master directly. A
    // single sentinel can start a failover without the votes of other sentinels.
    let settings = Settings {
        count: 1,
        failover_timeout: 60_000,
        ..THREE
    };
    let sentinels = Sentinels::start(master.port(), settings).await;
    let (_one, here) = open_numbers(&sentinels.url()).await;
    let (_other, there) = open_numbers(&sentinels.url()).await;
    let mut all = here.subscribe(Start::First);
    let ids = publish_all(&here, 0..10).await;
    take(&mut all, 10).await;
    replicated(&master, &replica).await;
    // This reader does not read any of the lost events.
    let mut some = there.subscribe(ids[4].clone());
    assert_eq!(take(&mut some, 5).await, [5, 6, 7, 8, 9]);
    replication.black_hole();
    let lost_ids = publish_all(&here, 100..100 + LOST).await;
    assert_eq!(take(&mut all, 3).await, [100, 101, 102]);
    master.kill().await;
    for value in 200..210 {
        publish_stubbornly(&there, value.into(), value).await;
    }
    let gap = recv(&mut all).await.unwrap().unwrap_err();
    assert_eq!(gap.reason(), GapReason::RolledBack);
    let rest = Vec::from_iter(200..210);
    assert_eq!(take(&mut all, 10).await, rest);
    assert_eq!(take(&mut some, 10).await, rest);
    for id in lost_ids {
        let mut affected = there.subscribe(id);
        let gap = recv(&mut affected).await.unwrap().unwrap_err();
        assert_eq!(gap.reason(), GapReason::RolledBack);
    }
    let kept = [Vec::from_iter(0..10), rest].concat();
    assert_eq!(values(&read_all(&here).await), kept);
}

#[tokio::test]
async fn lost_sentinels_do_not_disconnect() {
    let master = master().await;
    let mut sentinels = Sentinels::start(
        master.port(),
        Settings {
            replicas: 0,
            ..THREE
        },
    )
    .await;
    let (output, _guard) = Output::collect();
    let (_redis, numbers) = open_numbers(&sentinels.url()).await;
    let mut reader = numbers.subscribe(Start::First);
    publish_all(&numbers, 0..3).await;
    let subscribed = master.calls("subscribe").await;
    for sentinel in &mut sentinels.servers {
        sentinel.kill().await;
    }
    until("the lost sentinels are logged", async || {
        output.text().contains("no majority of sentinels")
    })
    .await;
    publish_all(&numbers, 3..6).await;
    assert_eq!(take(&mut reader, 6).await, [0, 1, 2, 3, 4, 5]);
    assert_eq!(master.calls("subscribe").await, subscribed);
    assert!(!output.text().contains("lost the connection"));
}

/// Opens a connection, and returns the error.
async fn open_error(url: &str) -> RedisError {
    let opening = Redis::builder().sentinel_auth(None, PASSWORD).open(url);
    let error = opening.await.unwrap_err();
    for text in [error.to_string(), format!("{error:?}")] {
        assert!(!text.contains(PASSWORD), "{text}");
    }
    error
}

#[tokio::test]
async fn invalid_sentinel_url_is_rejected() {
    for hosts in ["", "localhost", "localhost/", "localhost:port/mymaster"] {
        let error = open_error(&format!("redis+sentinel://:{PASSWORD}@{hosts}")).await;
        assert!(matches!(error, RedisError::InvalidUrl), "{hosts}: {error}");
        assert!(error.to_string().contains("redis+sentinel://"), "{error}");
    }
}

#[tokio::test]
async fn unreachable_sentinels_are_reported() {
    let ports = [free_port(), free_port()];
    let hosts = ports.map(|port| format!("127.0.0.1:{port}"));
    let url = format!("redis+sentinel://:{PASSWORD}@{}/{NAME}", hosts.join(","));
    let error = open_error(&url).await;
    assert!(
        matches!(error, RedisError::SentinelsUnreachable { .. }),
        "{error}"
    );
    let message = error.to_string();
    let is_named = |host: &String| message.contains(host);
    assert!(hosts.iter().all(is_named), "{message}");
    assert!(message.contains("refused"), "{message}");
}

#[tokio::test]
async fn silent_sentinels_are_reported() {
    let server = Server::in_memory().await;
    let proxy = Proxy::start(server.port()).await;
    proxy.black_hole();
    let url = format!("redis+sentinel://127.0.0.1:{}/{NAME}", proxy.port());
    let error = Redis::open(url).await.unwrap_err();
    assert!(
        matches!(error, RedisError::SentinelsUnreachable { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn unknown_master_is_rejected() {
    let master = master().await;
    let sentinels = Sentinels::start(master.port(), ONE).await;
    let url = sentinels.url().replace(NAME, "other");
    let error = Redis::open(url).await.unwrap_err();
    assert!(
        matches!(&error, RedisError::UnknownMaster { name, .. } if name == "other"),
        "{error}"
    );
}

#[tokio::test]
async fn server_that_is_not_a_sentinel_is_rejected() {
    let server = Server::in_memory().await;
    let url = format!("redis+sentinel://127.0.0.1:{}/{NAME}", server.port());
    let error = Redis::open(url).await.unwrap_err();
    assert!(matches!(error, RedisError::Sentinel { .. }), "{error}");
    assert!(error.to_string().contains("SENTINEL"), "{error}");
}

#[tokio::test]
async fn unclear_master_is_rejected() {
    let master = master().await;
    let replica = replica_of(master.port()).await;
    let right = Sentinels::start(master.port(), Settings { replicas: 1, ..ONE }).await;
    let wrong = Sentinels::start(replica.port(), ONE).await;
    let error = Redis::open(wrong.url()).await.unwrap_err();
    assert!(matches!(error, RedisError::NoMaster { .. }), "{error}");
    assert!(error.to_string().contains("is a replica"), "{error}");

    let host = |sentinels: &Sentinels| format!("127.0.0.1:{}", sentinels.servers[0].port());
    let [right, wrong] = [&right, &wrong].map(host);
    let url = format!("redis+sentinel://{right},{wrong}/{NAME}");
    let error = Redis::open(url).await.unwrap_err();
    assert!(matches!(error, RedisError::NoMaster { .. }), "{error}");
    let message = error.to_string();
    for server in [&master, &replica] {
        let port = server.port().to_string();
        assert!(message.contains(&port), "{message}");
    }
    // Two of three sentinels agree.
    let url = format!("redis+sentinel://{wrong},{right},{right}/{NAME}");
    let (redis, _numbers) = open_numbers(&url).await;
    connected_to(&redis, master.port()).await;
}

/// The rule that the documentation recommends for the sentinels.
const RULE: &str = "-@all +sentinel|get-master-addr-by-name";

#[tokio::test]
async fn documented_rule_for_sentinels_is_sufficient() {
    assert!(include_str!("../src/lib.rs").contains(RULE));
    let master = Server::start(&[IN_MEMORY, &["--requirepass", "right"]].concat()).await;
    let configuration = format!("sentinel monitor {NAME} 127.0.0.1 {} 1\n", master.port());
    let sentinel = Server::sentinel(&configuration, &[]).await;
    let password = format!(">{PASSWORD}");
    let rule: Vec<_> = RULE.split(' ').collect();
    let user = ["ACL", "SETUSER", "app", "reset", "on", &password];
    let () = sentinel.run(&[&user, &rule[..]].concat()).await;
    let requires_password = ["ACL", "SETUSER", "default", "resetpass", &password];
    let () = sentinel.run(&requires_password).await;
    let host = format!("127.0.0.1:{}", sentinel.port());
    let url = format!("redis+sentinel://:right@{host}/{NAME}");
    for user in [Some("app"), None] {
        let builder = Redis::builder().sentinel_auth(user, PASSWORD);
        let redis = builder.open(&url).await.unwrap();
        let debug = format!("{redis:?} {:?}", AsRef::as_ref(&redis));
        assert!(!debug.contains("right") && !debug.contains(PASSWORD));
        let numbers: Topic<u64> = open_topic(&redis, "numbers").await;
        publish_all(&numbers, 0..3).await;
    }

    let wrong = Redis::builder().sentinel_auth(Some("app"), "wrong");
    for opened in [Redis::open(&url).await, wrong.open(&url).await] {
        let error = opened.unwrap_err();
        assert!(matches!(error, RedisError::Sentinel { .. }), "{error}");
        assert!(error.to_string().contains("sentinel_auth"), "{error}");
    }
    let error = open_error(&format!("redis+sentinel://:{PASSWORD}@{host}/{NAME}")).await;
    assert!(
        matches!(error, RedisError::Authentication { .. }),
        "{error}"
    );
}
