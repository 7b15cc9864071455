//! Removes topics whose events have all become too old.

#![allow(clippy::unwrap_used)]

mod support;

use std::{path::Path, time::Duration};

use sse_log::Log;
use sse_runtime::{
    Start, Topic,
    topic::{GapReason, TopicBuilder},
};
use support::{PATIENCE, parts, publish_all, read_all, recv, values};
use tempfile::tempdir;
use tokio::time::{Instant, sleep};

const AGE: Duration = Duration::from_millis(200);

async fn open_log(path: &Path) -> Log {
    let builder = Log::builder().sweep_interval(Duration::from_millis(20));
    builder.open(path).await.unwrap()
}

fn short_lived() -> TopicBuilder<u64> {
    Topic::builder().keep(100_000).keep_for(AGE)
}

fn epoch(topic: &Topic<u64>) -> String {
    let position = topic.subscribe(Start::Now).position().to_string();
    let (epoch, _) = position.split_once('-').unwrap();
    epoch.to_owned()
}

/// Opens and closes a topic until its epoch differs from `before`.
async fn until_removed(log: &Log, name: &str, before: &str) -> Topic<u64> {
    let start = Instant::now();
    loop {
        let topic = short_lived().open(log, name).await.unwrap();
        if epoch(&topic) != before {
            return topic;
        }
        drop(topic);
        assert!(start.elapsed() < PATIENCE, "{name} has not been removed");
        // Leave the topic closed for a while, because an open topic is not removed.
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn expired_topic_is_removed_once_it_is_closed() {
    let directory = tempdir().unwrap();
    let log = open_log(&directory.path().join("log")).await;
    let expires = short_lived().open(&log, "expires").await.unwrap();
    let stays_open = short_lived().open(&log, "open").await.unwrap();
    let forever: Topic<u64> = Topic::builder().open(&log, "forever").await.unwrap();
    let ended = short_lived().open(&log, "ended").await.unwrap();
    let mut ids = Vec::new();
    for topic in [&expires, &stays_open, &forever, &ended] {
        ids.extend(publish_all(topic, 1..=3).await);
    }
    ended.finish().await.unwrap();
    let epochs = [epoch(&expires), epoch(&ended)];
    let kept = [epoch(&stays_open), epoch(&forever)];
    let mut reader = stays_open.subscribe(ids[5].clone());
    drop((expires, forever, ended));

    let expires = until_removed(&log, "expires", &epochs[0]).await;
    let ended = until_removed(&log, "ended", &epochs[1]).await;
    assert!(!ended.is_finished());
    // A client that reconnects receives a gap.
    let mut late = expires.subscribe(ids[0].clone());
    let gap = recv(&mut late).await.unwrap().unwrap_err();
    assert_eq!(gap.reason(), GapReason::OtherEpoch);
    expires.publish(&4).await.unwrap();
    assert_eq!(recv(&mut late).await.unwrap().unwrap().1, 4);

    // The topic that is open continues without a gap.
    stays_open.publish(&4).await.unwrap();
    assert_eq!(recv(&mut reader).await.unwrap().unwrap().1, 4);
    let forever: Topic<u64> = Topic::builder().open(&log, "forever").await.unwrap();
    assert_eq!(values(&read_all(&forever).await), [1, 2, 3]);
    assert_eq!([epoch(&stays_open), epoch(&forever)], kept);
}

/// A topic with many records is removed after the log is reopened, while other events are published.
#[tokio::test]
async fn large_topic_is_removed_in_steps() {
    const EVENTS: u64 = 12_000;
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    let log = open_log(&path).await;
    let topic = short_lived().open(&log, "large").await.unwrap();
    let publishing = (0..EVENTS).map(|value| {
        let topic = topic.clone();
        tokio::spawn(async move { topic.publish(&value).await.unwrap() })
    });
    for publishing in publishing.collect::<Vec<_>>() {
        publishing.await.unwrap();
    }
    let before = epoch(&topic);
    drop((topic, log));

    let log = open_log(&path).await;
    let other: Topic<u64> = Topic::open(&log, "other").await.unwrap();
    let removed = until_removed(&log, "large", &before);
    let publishing = async {
        loop {
            other.publish(&1).await.unwrap();
        }
    };
    let removed = tokio::select! {
        removed = removed => removed,
        () = publishing => unreachable!(),
    };
    let id = removed.publish(&7).await.unwrap().to_string();
    assert_eq!(parts(&id).1, 1);
    assert_eq!(values(&read_all(&removed).await), [7]);
}
