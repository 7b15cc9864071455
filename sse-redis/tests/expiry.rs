//! Tests that Redis removes topics that are no longer used.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use sse_redis::Redis;
use sse_runtime::{Start, Topic, topic::TopicBuilder};
use support::{server::Server, until};

const HOUR: i64 = 60 * 60 * 1000;

async fn open(redis: &Redis, builder: TopicBuilder<u64>) -> Topic<u64> {
    builder.open(redis, "numbers").await.unwrap()
}

/// Returns the remaining times of the topic's keys until they expire, in milliseconds, or -1 for a
/// key that does not expire.
async fn expiry(server: &Server) -> [i64; 2] {
    [
        server.run(&["PTTL", "sse:log:numbers"]).await,
        server.run(&["PTTL", "sse:keys:numbers"]).await,
    ]
}

#[tokio::test]
async fn topic_expires_an_hour_after_its_events() {
    let server = Server::in_memory().await;
    let redis = Redis::open(server.url()).await.unwrap();
    let age = Duration::from_secs(60);
    let topic = open(&redis, Topic::builder().keep_for(age)).await;
    topic.publish(&1).await.unwrap();
    for left in expiry(&server).await {
        assert!((HOUR + 30_000..=HOUR + 60_000).contains(&left), "{left}");
    }
    // The index is recreated with the same expiry.
    let _: () = server.run(&["DEL", "sse:keys:numbers"]).await;
    topic.publish_with_key(7, &2).await.unwrap();
    topic.publish_with_key(7, &2).await.unwrap();
    assert!(expiry(&server).await.iter().all(|left| *left > HOUR));
}

#[tokio::test]
async fn open_topic_does_not_expire() {
    let server = Server::in_memory().await;
    let redis = Redis::open(server.url()).await.unwrap();
    let builder = Topic::builder().keep_for(Duration::from_millis(1));
    let topic = open(&redis, builder).await;
    topic.publish(&1).await.unwrap();
    let _: () = server.run(&["PEXPIRE", "sse:log:numbers", "60000"]).await;
    until("the expiry is postponed", async || {
        expiry(&server).await[0] > HOUR / 2
    })
    .await;
}

#[tokio::test]
async fn topic_without_an_age_limit_does_not_expire() {
    let server = Server::in_memory().await;
    let redis = Redis::open(server.url()).await.unwrap();
    let topic = open(&redis, Topic::builder()).await;
    // Names may come from clients, so a topic that was opened but never used expires.
    assert!(expiry(&server).await[0] > HOUR / 2);
    topic.publish(&1).await.unwrap();
    assert_eq!(expiry(&server).await, [-1, -1]);
    drop(topic);
    let start = Duration::from_secs(1);
    let limited = open(&redis, Topic::builder().keep_for(start)).await;
    limited.publish(&2).await.unwrap();
    assert!(expiry(&server).await.iter().all(|left| *left > 0));
    drop(limited);
    let topic = open(&redis, Topic::builder()).await;
    topic.publish(&3).await.unwrap();
    assert_eq!(expiry(&server).await, [-1, -1]);
    assert_ne!(
        topic.subscribe(Start::First).position(),
        topic.subscribe(Start::Now).position()
    );
}
