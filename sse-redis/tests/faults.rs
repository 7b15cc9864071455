//! Tests servers that fail, and connections that are cut or no longer respond.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use sse_redis::Redis;
use sse_runtime::{
    EventId, Start, Topic,
    topic::{GapReason, PublishError, Subscription},
};
use support::{
    open_numbers, open_topic, output::Output, proxy::Proxy, publish_all, publish_stubbornly,
    read_all, recv, server::Server, take, until, values,
};

#[tokio::test]
async fn killed_server_with_aof_loses_nothing() {
    let mut server = Server::durable().await;
    let (_one, here) = open_numbers(&server.url()).await;
    let (_other, there) = open_numbers(&server.url()).await;
    let mut reader = there.subscribe(Start::First);
    publish_all(&here, 0..50).await;
    let publishing = {
        let here = here.clone();
        tokio::spawn(async move {
            for value in 50..150 {
                publish_stubbornly(&here, value.into(), value).await;
            }
        })
    };
    let mut read = take(&mut reader, 60).await;
    for _ in 0..2 {
        server.kill().await;
        server.restart().await;
        read.extend(take(&mut reader, 20).await);
    }
    publishing.await.unwrap();
    read.extend(take(&mut reader, 50).await);
    assert_eq!(read, Vec::from_iter(0..150));
    let (_third, late) = open_numbers(&server.url()).await;
    assert_eq!(values(&read_all(&late).await), read);
}

/// Returns the reason for the next gap, and the `count` values after the gap.
async fn gap_then(reader: &mut Subscription<u64>, count: usize) -> (GapReason, Vec<u64>) {
    let gap = recv(reader).await.unwrap().unwrap_err();
    (gap.reason(), take(reader, count).await)
}

#[tokio::test]
async fn flushed_server_starts_a_new_epoch() {
    let server = Server::durable().await;
    let (_one, here) = open_numbers(&server.url()).await;
    let (_other, there) = open_numbers(&server.url()).await;
    let (mut reader, mut other_reader) =
        (here.subscribe(Start::First), there.subscribe(Start::First));
    let ids = publish_all(&here, 0..3).await;
    take(&mut reader, 3).await;
    take(&mut other_reader, 3).await;
    let () = server.run(&["FLUSHALL"]).await;
    let (first, second) = tokio::join!(here.publish(&3), there.publish(&4));
    let (first, second) = (first.unwrap(), second.unwrap());
    let parts = |id: &EventId| id.to_string().split_once('-').unwrap().0.to_owned();
    assert_eq!(parts(&first), parts(&second));
    let (reason, after) = gap_then(&mut reader, 2).await;
    assert_eq!(reason, GapReason::OtherEpoch);
    assert_eq!(
        gap_then(&mut other_reader, 2).await,
        (reason, after.clone())
    );
    let mut returning = there.subscribe(ids[1].clone());
    assert_eq!(gap_then(&mut returning, 2).await, (reason, after));
}

#[tokio::test]
async fn restart_without_aof_starts_a_new_epoch() {
    let mut server = Server::in_memory().await;
    let (_redis, numbers) = open_numbers(&server.url()).await;
    let mut reader = numbers.subscribe(Start::First);
    publish_all(&numbers, 0..3).await;
    take(&mut reader, 3).await;
    server.kill().await;
    server.restart().await;
    publish_stubbornly(&numbers, 3, 3).await;
    assert_eq!(
        gap_then(&mut reader, 1).await,
        (GapReason::OtherEpoch, vec![3])
    );
}

#[tokio::test]
async fn killed_subscriber_catches_up() {
    let server = Server::in_memory().await;
    let (_one, here) = open_numbers(&server.url()).await;
    let (_other, there) = open_numbers(&server.url()).await;
    let mut reader = there.subscribe(Start::First);
    for round in 0..5 {
        let _: u64 = server.run(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        for value in round * 10..round * 10 + 10 {
            publish_stubbornly(&here, value.into(), value).await;
        }
        let values = take(&mut reader, 10).await;
        assert_eq!(values, Vec::from_iter(round * 10..round * 10 + 10));
    }
}

#[tokio::test]
async fn stalled_subscriber_catches_up() {
    let server = Server::in_memory().await;
    let proxy = Proxy::start(server.port()).await;
    let (_one, here) = open_numbers(&server.url()).await;
    let (_other, there) = open_numbers(&proxy.url()).await;
    let mut reader = there.subscribe(Start::First);
    publish_all(&here, 0..10).await;
    assert_eq!(take(&mut reader, 10).await, Vec::from_iter(0..10));
    let subscribed = server.calls("subscribe").await;
    proxy.stall_subscribers();
    publish_all(&here, 10..20).await;
    assert_eq!(take(&mut reader, 10).await, Vec::from_iter(10..20));
    until("the node subscribes again", async || {
        publish_all(&here, [20]).await;
        take(&mut reader, 1).await == [20] && server.calls("subscribe").await > subscribed
    })
    .await;
}

#[tokio::test]
async fn lost_message_is_noticed_without_new_events() {
    let server = Server::in_memory().await;
    let proxy = Proxy::start(server.port()).await;
    let (_one, here) = open_numbers(&server.url()).await;
    let (_other, there) = open_numbers(&proxy.url()).await;
    let mut reader = there.subscribe(Start::First);
    publish_all(&here, 0..3).await;
    take(&mut reader, 3).await;
    proxy.drop_messages(true);
    here.publish(&3).await.unwrap();
    assert_eq!(take(&mut reader, 1).await, [3]);
}

#[tokio::test]
async fn cut_connections_are_replaced() {
    let server = Server::in_memory().await;
    let proxy = Proxy::start(server.port()).await;
    let (_redis, numbers) = open_numbers(&proxy.url()).await;
    let mut reader = numbers.subscribe(Start::First);
    for value in 0..5 {
        proxy.cut();
        publish_stubbornly(&numbers, value.into(), value).await;
    }
    assert_eq!(take(&mut reader, 5).await, [0, 1, 2, 3, 4]);
    assert_eq!(values(&read_all(&numbers).await), [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn reconnecting_is_logged() {
    let server = Server::in_memory().await;
    let proxy = Proxy::start(server.port()).await;
    let (output, _guard) = Output::collect();
    let _redis = Redis::open(proxy.url()).await.unwrap();
    assert_eq!(output.text(), "");
    proxy.cut();
    until("the node has reconnected", async || {
        output.text().contains("reconnected to Redis")
    })
    .await;
    assert!(output.text().contains("lost the connection"));
}

#[tokio::test]
async fn publish_fails_while_the_server_is_down() {
    let mut server = Server::durable().await;
    let redis = Redis::builder()
        .publish_timeout(Duration::from_millis(300))
        .unhealthy_after(Duration::from_millis(1500))
        .open(server.url())
        .await
        .unwrap();
    let numbers = open_topic(&redis, "numbers").await;
    let mut reader = numbers.subscribe(Start::First);
    publish_all(&numbers, 0..3).await;
    assert!(redis.is_healthy());
    server.kill().await;
    until("the node notices the lost connection", async || {
        let start = Instant::now();
        match numbers.publish(&99).await {
            Err(PublishError::Unavailable { .. }) => {
                assert!(start.elapsed() >= Duration::from_millis(290));
                true
            }
            // The request was sent before the connection was closed.
            Err(PublishError::Unknown { .. }) => false,
            other => panic!("{other:?}"),
        }
    })
    .await;
    until("the node is unhealthy", async || !redis.is_healthy()).await;
    // Clients still read the events that the node has.
    assert_eq!(take(&mut reader, 3).await, [0, 1, 2]);
    server.restart().await;
    until("the node is healthy", async || redis.is_healthy()).await;
    numbers.publish(&3).await.unwrap();
    assert_eq!(take(&mut reader, 1).await, [3]);
}

#[tokio::test]
async fn unanswered_publish_is_unknown_and_stored_once() {
    let server = Server::in_memory().await;
    let proxy = Proxy::start(server.port()).await;
    let redis = Redis::builder().publish_timeout(Duration::from_millis(300));
    let redis = redis.open(proxy.url()).await.unwrap();
    let numbers = open_topic(&redis, "numbers").await;
    let mut reader = numbers.subscribe(Start::First);
    publish_all(&numbers, 0..3).await;
    proxy.black_hole();
    let published = numbers.publish(&3).await;
    let Err(PublishError::Unknown { key, .. }) = published else {
        panic!("{published:?}");
    };
    let again = numbers.publish_with_key(key, &3).await;
    assert!(
        matches!(again, Err(PublishError::Unknown { .. })),
        "{again:?}"
    );
    proxy.heal();
    let key = u128::from_be_bytes(key.to_bytes());
    publish_stubbornly(&numbers, key, 3).await;
    numbers.publish(&4).await.unwrap();
    assert_eq!(take(&mut reader, 5).await, [0, 1, 2, 3, 4]);
    let stored: u64 = server.run(&["XLEN", "sse:log:numbers"]).await;
    assert_eq!(stored, 6, "five records and the start");
}

/// The first attempt reaches the server after the second one has been stored.
#[tokio::test]
async fn delayed_request_is_not_stored_twice() {
    let server = Server::in_memory().await;
    let proxy = Proxy::start(server.port()).await;
    let redis = Redis::builder().publish_timeout(Duration::from_millis(300));
    let redis = redis.open(proxy.url()).await.unwrap();
    let numbers = open_topic(&redis, "numbers").await;
    publish_all(&numbers, 0..3).await;
    proxy.stall();
    let published = numbers.publish(&3).await;
    let Err(PublishError::Unknown { key, .. }) = published else {
        panic!("{published:?}");
    };
    // The node replaces all of its connections.
    let _: u64 = server.run(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    let key = u128::from_be_bytes(key.to_bytes());
    publish_stubbornly(&numbers, key, 3).await;
    numbers.publish(&4).await.unwrap();
    // Once the connection is open, only appends use this command.
    let before = server.calls("hmget").await;
    proxy.heal();
    until("the delayed request is processed", async || {
        server.calls("hmget").await > before
    })
    .await;
    numbers.publish(&5).await.unwrap();
    assert_eq!(values(&read_all(&numbers).await), [0, 1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn unreachable_server_makes_the_node_unhealthy() {
    let server = Server::in_memory().await;
    let proxy = Proxy::start(server.port()).await;
    let redis = Redis::builder()
        .publish_timeout(Duration::from_millis(100))
        .unhealthy_after(Duration::from_millis(2500))
        .open(proxy.url())
        .await
        .unwrap();
    let numbers = open_topic(&redis, "numbers").await;
    proxy.black_hole();
    until("the node is unhealthy", async || !redis.is_healthy()).await;
    until("the connection is given up", async || {
        matches!(
            numbers.publish(&0).await,
            Err(PublishError::Unavailable { .. })
        )
    })
    .await;
    proxy.heal();
    until("the node is healthy", async || redis.is_healthy()).await;
}

#[tokio::test]
async fn full_server_stores_nothing() {
    let server = Server::in_memory().await;
    let (_redis, numbers) = open_numbers(&server.url()).await;
    numbers.publish(&0).await.unwrap();
    let () = server.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    for published in [
        numbers.publish(&1).await,
        numbers.publish_with_key(7, &1).await,
    ] {
        let is_unavailable = matches!(published, Err(PublishError::Unavailable { .. }));
        assert!(is_unavailable, "{published:?}");
    }
    let () = server.run(&["CONFIG", "SET", "maxmemory", "0"]).await;
    let () = server.run(&["SCRIPT", "FLUSH"]).await;
    numbers.publish_with_key(7, &1).await.unwrap();
    assert_eq!(values(&read_all(&numbers).await), [0, 1]);
}

#[tokio::test]
async fn paused_server_delays_events_but_loses_none() {
    let server = Server::in_memory().await;
    let (_redis, numbers) = open_numbers(&server.url()).await;
    let mut reader = numbers.subscribe(Start::First);
    let () = server.run(&["CLIENT", "PAUSE", "500", "ALL"]).await;
    let publishing = (0..20).map(|value| {
        let numbers: Topic<u64> = numbers.clone();
        tokio::spawn(async move { numbers.publish(&value).await.unwrap() })
    });
    for publishing in publishing.collect::<Vec<_>>() {
        publishing.await.unwrap();
    }
    let mut read = take(&mut reader, 20).await;
    read.sort_unstable();
    assert_eq!(read, Vec::from_iter(0..20));
}
