//! Tests the size of the file under a steady load.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    io::{self, Write as _},
    time::{Duration, Instant},
};

use sse_log::Log;
use sse_runtime::{Start, Topic};
use support::{PATIENCE, parts, read_all, setting, values};
use tempfile::tempdir;

const KEEP: u64 = 1_000;

/// The number of events published concurrently.
const TOGETHER: u64 = 250;

/// The environment variable `EVENTS` sets the number of events. The default is 200,000.
#[tokio::test]
async fn file_does_not_grow_under_a_steady_load() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    let log = Log::open(&path).await.unwrap();
    let keep = usize::try_from(KEEP).unwrap();
    let numbers: Topic<u64> = Topic::builder().keep(keep).open(&log, "n").await.unwrap();
    let events = setting("EVENTS", 200_000);
    let start = Instant::now();
    let mut largest = 0;
    let mut after_warm_up = 0;
    for first in (0..events).step_by(usize::try_from(TOGETHER).unwrap()) {
        let publish = |value: u64| {
            let numbers = numbers.clone();
            async move { numbers.publish(&value).await.unwrap() }
        };
        let publishing: Vec<_> = (first..first + TOGETHER)
            .map(|n| tokio::spawn(publish(n)))
            .collect();
        for publishing in publishing {
            publishing.await.unwrap();
        }
        largest = largest.max(fs::metadata(&path).unwrap().len());
        if first < 20 * KEEP {
            after_warm_up = largest;
        }
    }
    let _ = writeln!(
        io::stderr(),
        "{events} events: {after_warm_up} bytes after the warm-up, at most {largest}, {:?}",
        start.elapsed()
    );
    assert!(largest < 2_000_000, "{largest} bytes");
    let newest = numbers.subscribe(Start::Now).position().to_string();
    assert_eq!(parts(&newest).1, events);
}

#[tokio::test]
async fn idle_log_returns_space_to_the_file_system() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    let builder = Log::builder().compact_after(Duration::from_millis(100));
    let log = builder.open(&path).await.unwrap();
    let texts: Topic<String> = Topic::open(&log, "t").await.unwrap();
    for _ in 0..100 {
        texts.publish(&"a".repeat(200_000)).await.unwrap();
    }
    let size = || fs::metadata(&path).unwrap().len();
    assert!(size() > 20_000_000);
    drop(texts);

    // Open the topic with a lower limit, so that the next append removes events.
    let texts: Topic<String> = Topic::builder().keep(2).open(&log, "t").await.unwrap();
    texts.publish(&"b".to_owned()).await.unwrap();
    let start = Instant::now();
    while size() > 4_000_000 {
        assert!(start.elapsed() < PATIENCE, "{} bytes", size());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    texts.publish(&"c".to_owned()).await.unwrap();
    let events = read_all(&texts).await;
    assert!(events.iter().map(|(_, text)| text.len()).eq([1, 1]));
    drop((log, texts));

    let log = Log::open(&path).await.unwrap();
    let texts: Topic<String> = Topic::open(&log, "t").await.unwrap();
    let lens = read_all(&texts)
        .await
        .into_iter()
        .map(|(id, text)| (id, text.len()));
    assert_eq!(values(&Vec::from_iter(lens)), [200_000, 1, 1]);
}
