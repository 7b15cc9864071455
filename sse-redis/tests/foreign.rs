//! Tests keys that other programs have written or changed.

#![allow(clippy::unwrap_used)]

mod support;

use sse_redis::Redis;
use sse_runtime::{
    Start, Topic,
    topic::{GapReason, OpenError, PublishError},
};
use support::{
    open_numbers, open_topic, publish_all, read_all, recv, server::Server, take, until, values,
};
const LOG: &str = "sse:log:numbers";

#[tokio::test]
async fn entries_of_other_programs_are_skipped() {
    let server = Server::in_memory().await;
    let (_one, here) = open_numbers(&server.url()).await;
    let mut reader = here.subscribe(Start::First);
    publish_all(&here, 0..3).await;
    for (id, fields) in [
        ("*", &["name", "value"][..]),
        ("*", &["k", "short", "t", "1", "c", "2", "b", "x"]),
        ("*", &["s", ""]),
        ("18446744073709551615-18446744073709551615", &["last", "id"]),
    ] {
        let command = [&["XADD", LOG, id], fields].concat();
        let _: String = server.run(&command).await;
        // A node that opens the topic now does not deliver them either.
        let (_other, there) = open_numbers(&server.url()).await;
        assert_eq!(values(&read_all(&there).await), [0, 1, 2]);
    }
    publish_all(&here, 3..5).await;
    assert_eq!(take(&mut reader, 5).await, [0, 1, 2, 3, 4]);
    let (_other, there) = open_numbers(&server.url()).await;
    assert_eq!(values(&read_all(&there).await), [0, 1, 2, 3, 4]);
    let left: u64 = server.run(&["XLEN", LOG]).await;
    assert_eq!(left, 6, "five records and the start");
}

#[tokio::test]
async fn messages_of_other_programs_are_skipped() {
    let server = Server::in_memory().await;
    let (_redis, numbers) = open_numbers(&server.url()).await;
    let mut reader = numbers.subscribe(Start::First);
    for message in ["", "hello", "1b", "1?", "1.", "2b"] {
        let _: u64 = server
            .run(&["PUBLISH", "sse:feed:0:numbers", message])
            .await;
    }
    publish_all(&numbers, 0..3).await;
    assert_eq!(take(&mut reader, 3).await, [0, 1, 2]);
}

#[tokio::test]
async fn key_of_another_type_fails_only_its_topic() {
    let server = Server::in_memory().await;
    let redis = Redis::open(server.url()).await.unwrap();
    let string = open_topic(&redis, "string").await;
    let other = open_topic(&redis, "other").await;
    let mut reader = other.subscribe(Start::First);
    let () = server.run(&["SET", "sse:log:string", "text"]).await;
    let _: u64 = server.run(&["LPUSH", "sse:log:list", "text"]).await;
    let _: String = server
        .run(&["XADD", "sse:log:stream", "*", "name", "value"])
        .await;

    let published = string.publish(&0).await;
    assert!(matches!(published, Err(PublishError::Unavailable { .. })));
    let message = published.unwrap_err().to_string();
    assert!(message.contains("sse:log:string"), "{message}");
    let (list, stream) = tokio::join!(
        Topic::<u64>::open(&redis, "list"),
        Topic::<u64>::open(&redis, "stream")
    );
    for (opened, key) in [(list, "sse:log:list"), (stream, "sse:log:stream")] {
        let error = opened.unwrap_err();
        assert!(matches!(error, OpenError::TimedOut { .. }), "{error}");
        assert!(error.to_string().contains(key), "{error}");
    }
    publish_all(&other, 0..3).await;
    assert_eq!(take(&mut reader, 3).await, [0, 1, 2]);
    // Nothing was changed.
    let text: String = server.run(&["GET", "sse:log:string"]).await;
    assert_eq!(text, "text");
    let entries: u64 = server.run(&["XLEN", "sse:log:stream"]).await;
    assert_eq!(entries, 1);

    // The topic works again once the key is gone.
    let _: u64 = server.run(&["DEL", "sse:log:string"]).await;
    string.publish(&0).await.unwrap();
}

#[tokio::test]
async fn removed_newest_event_is_rolled_back() {
    let server = Server::in_memory().await;
    let (_redis, numbers) = open_numbers(&server.url()).await;
    let mut reader = numbers.subscribe(Start::First);
    let ids = publish_all(&numbers, 0..3).await;
    assert_eq!(take(&mut reader, 3).await, [0, 1, 2]);
    let newest: Vec<(String, Vec<String>)> = server
        .run(&["XREVRANGE", LOG, "+", "-", "COUNT", "0"])
        .await;
    assert!(newest.is_empty());
    let id = newest_id(&server).await;
    let _: u64 = server.run(&["XDEL", LOG, &id]).await;
    let new = numbers.publish(&3).await.unwrap();
    assert_ne!(new, ids[2]);
    let gap = recv(&mut reader).await.unwrap().unwrap_err();
    assert_eq!(gap.reason(), GapReason::RolledBack);
    assert_eq!(take(&mut reader, 1).await, [3]);
    assert_eq!(values(&read_all(&numbers).await), [0, 1, 3]);
}

#[tokio::test]
async fn removed_event_is_a_gap_for_new_nodes() {
    let server = Server::in_memory().await;
    let (_redis, numbers) = open_numbers(&server.url()).await;
    let ids = publish_all(&numbers, 0..5).await;
    let newest = newest_id(&server).await;
    let epoch = newest.split_once('-').unwrap().0;
    let removed = format!("{epoch}-3");
    let _: u64 = server.run(&["XDEL", LOG, &removed]).await;
    let (_other, there) = open_numbers(&server.url()).await;
    let mut reader = there.subscribe(ids[0].clone());
    let gap = recv(&mut reader).await.unwrap();
    assert!(gap.is_err(), "{gap:?}");
    assert_eq!(take(&mut reader, 2).await, [3, 4]);
}

#[tokio::test]
async fn emptied_log_starts_a_new_epoch() {
    let server = Server::in_memory().await;
    let (_redis, numbers) = open_numbers(&server.url()).await;
    for command in [&["XTRIM", LOG, "MAXLEN", "0"][..], &["DEL", LOG]] {
        let mut reader = numbers.subscribe(Start::Now);
        numbers.publish(&1).await.unwrap();
        assert_eq!(take(&mut reader, 1).await, [1]);
        let _: u64 = server.run(command).await;
        numbers.publish(&2).await.unwrap();
        let gap = recv(&mut reader).await.unwrap().unwrap_err();
        assert_eq!(gap.reason(), GapReason::OtherEpoch);
        assert_eq!(take(&mut reader, 1).await, [2]);
    }
    // Without a new event, the node notices at its next check.
    let before = numbers.subscribe(Start::Now).position();
    let _: u64 = server.run(&["XTRIM", LOG, "MAXLEN", "0"]).await;
    until("the node has a new epoch", async || {
        let now = numbers.subscribe(Start::Now).position();
        now.to_string().split('-').next() != before.to_string().split('-').next()
    })
    .await;
}

async fn newest_id(server: &Server) -> String {
    let newest: Vec<(String, redis::Value)> = server
        .run(&["XREVRANGE", LOG, "+", "-", "COUNT", "1"])
        .await;
    newest[0].0.clone()
}
