//! Functions shared by the tests.

#![allow(clippy::unwrap_used, dead_code, missing_docs, unreachable_pub)]

pub mod output;
pub mod presence;
pub mod proxy;
pub mod replication;
pub mod sentinels;
pub mod server;

use std::{fmt::Debug, time::Duration};

use sse_redis::Redis;
use sse_runtime::{
    EventId, Start, Topic,
    topic::{Cursor, Gap, Subscription},
};
use tokio::time::{sleep, timeout};

/// The time after which a test that is waiting for an event fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Connects to a server and opens its topic `numbers`.
pub async fn open_numbers(url: &str) -> (Redis, Topic<u64>) {
    let redis = Redis::open(url).await.unwrap();
    let numbers = open_topic(&redis, "numbers").await;
    (redis, numbers)
}

pub async fn open_topic(redis: &Redis, name: &str) -> Topic<u64> {
    let topic = Topic::builder().keep(100_000).open(redis, name).await;
    topic.unwrap()
}

pub async fn publish_all(
    topic: &Topic<u64>,
    values: impl IntoIterator<Item = u64>,
) -> Vec<EventId> {
    let mut ids = Vec::new();
    for value in values {
        ids.push(topic.publish(&value).await.unwrap());
    }
    ids
}

/// Publishes an event until it is stored. Each attempt uses the same key.
pub async fn publish_stubbornly(topic: &Topic<u64>, key: u128, value: u64) -> EventId {
    let publishing = async {
        loop {
            if let Ok(id) = topic.publish_with_key(key, &value).await {
                return id;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let published = timeout(PATIENCE, publishing).await;
    published.expect("the event was not stored in time")
}

/// Returns the next event or the gap before it. Returns `None` at the end of the topic.
pub async fn recv<T: Clone + Send + Sync + 'static>(
    reader: &mut Subscription<T>,
) -> Option<Result<(EventId, T), Gap>> {
    let next = timeout(PATIENCE, reader.recv()).await;
    let next = next.expect("no event arrived in time");
    next.map(|next| next.map(|update| (update.id().clone(), (*update).clone())))
}

/// Returns the next `count` values. Panics if there is a gap before one of them.
pub async fn take(reader: &mut Subscription<u64>, count: usize) -> Vec<u64> {
    let mut values = Vec::new();
    while values.len() < count {
        values.push(recv(reader).await.unwrap().unwrap().1);
    }
    values
}

/// Returns the events after `cursor` up to `last`.
pub async fn read_to<T: Clone + Debug + Send + Sync + 'static>(
    topic: &Topic<T>,
    cursor: impl Into<Cursor>,
    last: &EventId,
) -> Vec<(EventId, T)> {
    let mut reader = topic.subscribe(cursor);
    let mut events = Vec::new();
    while events.last().is_none_or(|(id, _)| id != last) {
        events.push(recv(&mut reader).await.unwrap().unwrap());
    }
    events
}

/// Returns all events that the topic holds at present.
pub async fn read_all<T: Clone + Debug + Send + Sync + 'static>(
    topic: &Topic<T>,
) -> Vec<(EventId, T)> {
    let newest = topic.subscribe(Start::Now).position();
    let oldest = topic.subscribe(Start::First).position();
    if newest == oldest {
        return Vec::new();
    }
    read_to(topic, Start::First, &newest).await
}

pub fn values<T: Copy>(events: &[(EventId, T)]) -> Vec<T> {
    events.iter().map(|(_, value)| *value).collect()
}

/// Waits until a condition holds.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = timeout(PATIENCE, waiting).await;
    assert!(waited.is_ok(), "timed out while waiting until {what}");
}
