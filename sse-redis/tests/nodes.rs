//! Tests topics that several nodes share.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use redis::Value;
use sse_redis::Redis;
use sse_runtime::{
    EventId, Hub, Start, Topic,
    topic::{GapReason, PublishError},
};
use support::{
    open_numbers, open_topic, publish_all, read_all, read_to, recv, server::Server, take, until,
    values,
};

#[tokio::test]
async fn nodes_deliver_events_in_one_order() {
    let server = Server::in_memory().await;
    let (_one, here) = open_numbers(&server.url()).await;
    let (_other, there) = open_numbers(&server.url()).await;
    let (mut reader, mut other_reader) =
        (here.subscribe(Start::First), there.subscribe(Start::First));
    let mut tasks = tokio::task::JoinSet::new();
    for publisher in 0..4 {
        let topic = if publisher % 2 == 0 { &here } else { &there }.clone();
        tasks.spawn(
            async move { publish_all(&topic, publisher * 100..publisher * 100 + 100).await },
        );
    }
    let events = take(&mut reader, 400).await;
    assert_eq!(take(&mut other_reader, 400).await, events);
    for publisher in 0..4 {
        let of_one = events.iter().filter(|value| **value / 100 == publisher);
        assert!(of_one.copied().eq(publisher * 100..publisher * 100 + 100));
    }
    tasks.join_all().await;
    let (_third, late) = open_numbers(&server.url()).await;
    assert_eq!(values(&read_all(&late).await), events);
}

#[tokio::test]
async fn client_resumes_at_another_node() {
    let server = Server::in_memory().await;
    let (_one, here) = open_numbers(&server.url()).await;
    let ids = publish_all(&here, 0..50).await;
    let (_other, there) = open_numbers(&server.url()).await;
    for (index, id) in ids[..49].iter().enumerate() {
        let rest = read_to(&there, id.clone(), &ids[49]).await;
        assert_eq!(values(&rest), Vec::from_iter(index as u64 + 1..50));
    }
    // The other node may not have received this event yet.
    let id = here.publish(&50).await.unwrap();
    let mut reader = there.subscribe(id);
    here.publish(&51).await.unwrap();
    assert_eq!(take(&mut reader, 1).await, [51]);
}

#[tokio::test]
async fn topic_read_before_its_first_event_keeps_ids() {
    let server = Server::in_memory().await;
    let (_one, here) = open_numbers(&server.url()).await;
    let start = here.subscribe(Start::First).position();
    let (_other, there) = open_numbers(&server.url()).await;
    assert_eq!(there.subscribe(Start::First).position(), start);
    let ids = publish_all(&there, 0..3).await;
    assert_eq!(values(&read_to(&here, start, &ids[2]).await), [0, 1, 2]);
}

#[tokio::test]
async fn key_is_stored_once_across_nodes() {
    let server = Server::in_memory().await;
    let (_one, here) = open_numbers(&server.url()).await;
    let (_other, there) = open_numbers(&server.url()).await;
    let mut ids: Vec<EventId> = Vec::new();
    for value in 0..100_u64 {
        ids.push(match value % 3 {
            0 => here.publish(&value).await.unwrap(),
            _ => here
                .publish_with_key(u128::from(value), &value)
                .await
                .unwrap(),
        });
    }
    for value in (0..100_u64).filter(|value| value % 3 > 0) {
        let again = there.publish_with_key(u128::from(value), &7).await;
        assert_eq!(again.unwrap(), ids[usize::try_from(value).unwrap()]);
    }
    let () = server.run(&["DEL", "sse:keys:numbers"]).await;
    let again = there.publish_with_key(2, &7).await.unwrap();
    assert_eq!(again, ids[2]);
    // A random key is found as well.
    let entries: Vec<(String, Vec<Vec<u8>>)> = server
        .run(&["XRANGE", "sse:log:numbers", "-", "+", "COUNT", "2"])
        .await;
    let key: [u8; 16] = entries[1].1[1].clone().try_into().unwrap();
    assert_eq!(there.publish_with_key(key, &7).await.unwrap(), ids[0]);
    assert_eq!(values(&read_all(&here).await), Vec::from_iter(0..100));
}

#[tokio::test]
async fn index_contains_only_stored_events() {
    let server = Server::in_memory().await;
    let redis = Redis::open(server.url()).await.unwrap();
    let numbers: Topic<u64> = Topic::builder()
        .keep(10)
        .open(&redis, "numbers")
        .await
        .unwrap();
    for value in 0..1_000 {
        let id = numbers.publish_with_key(value, &0).await.unwrap();
        assert_eq!(numbers.publish_with_key(value, &0).await.unwrap(), id);
    }
    let indexed: u64 = server.run(&["HLEN", "sse:keys:numbers"]).await;
    assert_eq!(
        indexed,
        11 + 2,
        "eleven records, and the fields `at` and `by`"
    );
}

#[tokio::test]
async fn finish_is_seen_at_other_nodes_and_later() {
    let mut server = Server::durable().await;
    let (_one, here) = open_numbers(&server.url()).await;
    let (_other, there) = open_numbers(&server.url()).await;
    let mut reader = there.subscribe(Start::First);
    publish_all(&here, 0..3).await;
    let keyed = here.publish_with_key(7, &3).await.unwrap();
    let (finished, late) = tokio::join!(here.finish(), here.publish(&4));
    finished.unwrap();
    assert!(matches!(late, Err(PublishError::Finished)), "{late:?}");
    assert_eq!(take(&mut reader, 4).await, [0, 1, 2, 3]);
    assert_eq!(recv(&mut reader).await, None);
    let late = there.publish(&4).await;
    assert!(matches!(late, Err(PublishError::Finished)), "{late:?}");
    assert_eq!(there.publish_with_key(7, &3).await.unwrap(), keyed);
    there.finish().await.unwrap();
    server.kill().await;
    server.restart().await;
    let (_third, late) = open_numbers(&server.url()).await;
    assert!(late.is_finished());
    assert_eq!(values(&read_all(&late).await), [0, 1, 2, 3]);
}

#[tokio::test]
async fn log_keeps_the_newest_events() {
    let server = Server::in_memory().await;
    let redis = Redis::open(server.url()).await.unwrap();
    let few: Topic<u64> = Topic::builder().keep(5).open(&redis, "few").await.unwrap();
    let ids = publish_all(&few, 0..20).await;
    let stored: u64 = server.run(&["XLEN", "sse:log:few"]).await;
    assert_eq!(stored, 6, "five events and the one before them");

    let small = Topic::<String>::builder().keep(1_000).keep_bytes(10_000);
    let small = small.open(&redis, "small").await.unwrap();
    for _ in 0..50 {
        small.publish(&"x".repeat(1_000)).await.unwrap();
    }
    let stored: u64 = server.run(&["XLEN", "sse:log:small"]).await;
    assert!((9..=11).contains(&stored), "{stored}");

    let young = Topic::<u64>::builder()
        .keep(1_000)
        .keep_for(Duration::from_millis(200));
    let young = young.open(&redis, "young").await.unwrap();
    publish_all(&young, 0..10).await;
    until("old events are removed", async || {
        young.publish(&10).await.unwrap();
        let oldest: Vec<(String, Value)> = server
            .run(&["XRANGE", "sse:log:young", "-", "+", "COUNT", "1"])
            .await;
        let number = oldest[0].0.split_once('-').unwrap().1.parse::<u64>();
        number.unwrap() >= 10
    })
    .await;

    // A client that has read the event before the oldest one misses nothing.
    let other = Redis::open(server.url()).await.unwrap();
    let there: Topic<u64> = Topic::builder().keep(5).open(&other, "few").await.unwrap();
    let mut reader = there.subscribe(ids[14].clone());
    assert_eq!(take(&mut reader, 5).await, [15, 16, 17, 18, 19]);
    let gap = recv(&mut there.subscribe(ids[13].clone())).await.unwrap();
    assert_eq!(gap.unwrap_err().reason(), GapReason::TooOld);
}

#[tokio::test]
async fn large_event_reaches_other_nodes() {
    let server = Server::in_memory().await;
    let one = Redis::builder()
        .max_event_bytes(300_000)
        .open(server.url())
        .await
        .unwrap();
    let other = Redis::open(server.url()).await.unwrap();
    let here: Topic<String> = Topic::open(&one, "text").await.unwrap();
    let there: Topic<String> = Topic::open(&other, "text").await.unwrap();
    let mut reader = there.subscribe(Start::First);
    for len in [1, 17_000, 2, 200_000, 3] {
        here.publish(&"x".repeat(len)).await.unwrap();
        assert_eq!(recv(&mut reader).await.unwrap().unwrap().1.len(), len);
    }
    let too_large = here.publish(&"x".repeat(300_000)).await;
    assert!(
        matches!(too_large, Err(PublishError::TooLarge { max: 300_000, .. })),
        "{too_large:?}"
    );
}

#[tokio::test]
async fn topics_and_prefixes_are_independent() {
    let server = Server::in_memory().await;
    let one = Redis::open(server.url()).await.unwrap();
    let other = Redis::builder()
        .key_prefix("other:")
        .open(server.url())
        .await
        .unwrap();
    let third = Redis::open(format!("{}/3", server.url())).await.unwrap();
    let topics = [
        open_topic(&one, "a").await,
        open_topic(&one, "b{}\u{e4}").await,
        open_topic(&other, "a").await,
        open_topic(&third, "a").await,
    ];
    for (value, topic) in (0..).zip(&topics) {
        publish_all(topic, [value, value]).await;
    }
    for (value, topic) in (0..).zip(&topics) {
        assert_eq!(values(&read_all(topic).await), [value, value]);
    }
}

#[tokio::test]
async fn hub_stores_its_topics_in_redis() {
    let server = Server::in_memory().await;
    let (one, other) = (
        Redis::open(server.url()).await.unwrap(),
        Redis::open(server.url()).await.unwrap(),
    );
    let here: Hub<u64> = Hub::builder(Topic::builder).engine(&one, "room:").build();
    let there: Hub<u64> = Hub::builder(Topic::builder).engine(&other, "room:").build();
    let mut reader = there.topic("lobby").await.unwrap().subscribe(Start::First);
    here.topic("lobby")
        .await
        .unwrap()
        .publish(&7)
        .await
        .unwrap();
    assert_eq!(take(&mut reader, 1).await, [7]);
    let stored: u64 = server.run(&["XLEN", "sse:log:room:/lobby"]).await;
    assert_eq!(stored, 2, "the event and the start");
}

#[tokio::test]
async fn clients_cause_no_commands() {
    let server = Server::in_memory().await;
    let (_redis, numbers) = open_numbers(&server.url()).await;
    let ids = publish_all(&numbers, 0..100).await;
    let before = server.calls("evalsha").await + server.calls("subscribe").await;
    for client in 0..1_000 {
        let mut reader = numbers.subscribe(ids[client % 99].clone());
        assert_eq!(take(&mut reader, 1).await, [client as u64 % 99 + 1]);
    }
    let after = server.calls("evalsha").await + server.calls("subscribe").await;
    // Every two seconds, the node compares its newest position with the server's.
    assert!(after - before < 10, "{} commands", after - before);
}

#[tokio::test]
async fn connection_closes_after_the_last_clone_is_dropped() {
    let server = Server::in_memory().await;
    let (redis, numbers) = open_numbers(&server.url()).await;
    let reader = numbers.subscribe(Start::Now);
    drop((redis, numbers));
    let connected = async || {
        let clients = server.info("clients", "connected_clients").await;
        clients.unwrap().parse::<u64>().unwrap()
    };
    // The node's two connections, and the one that runs this command.
    until("the node is connected", async || connected().await == 3).await;
    drop(reader);
    until("the connections are closed", async || {
        connected().await == 1
    })
    .await;
}
