//! Functions and constants shared by the tests.

#![allow(clippy::unwrap_used, dead_code, missing_docs, unreachable_pub)]

use std::{fmt::Debug, path::Path, time::Duration};

use sse_log::Log;
use sse_runtime::{
    EventId, Start, Topic,
    topic::{Cursor, Gap, Subscription},
};
use tokio::time::timeout;

/// The time after which a test that is waiting for an event fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub async fn open(path: &Path) -> Log {
    Log::open(path).await.unwrap()
}

/// Opens a log and its topic `numbers`.
pub async fn open_numbers(path: &Path) -> (Log, Topic<u64>) {
    let log = open(path).await;
    let numbers = Topic::builder().keep(1_000_000).open(&log, "numbers").await;
    (log, numbers.unwrap())
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

/// Returns the next event or the gap before it. Returns `None` at the end of the topic.
pub async fn recv<T: Clone + Send + Sync + 'static>(
    reader: &mut Subscription<T>,
) -> Option<Result<(EventId, T), Gap>> {
    let next = timeout(PATIENCE, reader.recv()).await.expect("no event");
    next.map(|next| next.map(|update| (update.id().clone(), (*update).clone())))
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

/// Returns all events in the topic.
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

/// Splits an id into its epoch, its number and its mark.
pub fn parts(id: &str) -> (String, u64, String) {
    let (epoch, rest) = id.split_once('-').unwrap();
    let (number, mark) = rest.split_once('.').unwrap();
    (epoch.to_owned(), number.parse().unwrap(), mark.to_owned())
}

/// Returns the number in an environment variable, or `default` if the variable is not set.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}
