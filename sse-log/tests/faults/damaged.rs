//! Tests damaged files.

use std::{fs, path::Path};

use redb::StorageBackend as _;
use sse_log::{Log, LogError};
use sse_runtime::{Start, Topic};
use tempfile::tempdir;

use crate::{
    disk::{Disk, open_log_on},
    files::open_when_closed,
    support::{PATIENCE, open_numbers, publish_all, read_all, read_to, recv, setting, values},
};

/// Returns the content of a closed log with some events.
async fn content_of_a_log(path: &Path) -> Vec<u8> {
    let (log, numbers) = open_numbers(path).await;
    publish_all(&numbers, 0..300).await;
    drop((log, numbers));
    drop(open_when_closed(path));
    fs::read(path).unwrap()
}

/// Uses a log that may be damaged. Checks that either it cannot be opened, or all events that it
/// returns are correct. Returns whether it was opened.
async fn use_damaged(content: &[u8]) -> bool {
    let disk = Disk::holding(content);
    let opening = Log::builder().open_backend(disk.clone());
    let opened = tokio::time::timeout(PATIENCE, opening).await;
    let log = match opened.expect("the call hangs") {
        Ok(log) => log,
        Err(LogError::Damaged { .. } | LogError::NotALog { .. } | LogError::NewerFormat { .. }) => {
            assert!(disk.content() == content, "the file was changed");
            return false;
        }
        Err(error) => panic!("{error}"),
    };
    let numbers: Topic<u64> = Topic::open(&log, "numbers").await.unwrap();
    let stored = values(&read_all(&numbers).await);
    assert_eq!(stored, Vec::from_iter(0..stored.len() as u64));
    let id = numbers.publish(&1_000).await.unwrap();
    read_to(&numbers, Start::Latest(1), &id).await;
    true
}

#[tokio::test]
async fn truncated_log_is_an_error() {
    let directory = tempdir().unwrap();
    let content = content_of_a_log(&directory.path().join("log")).await;
    assert!(use_damaged(&content).await);
    let mut lens: Vec<usize> = (0..400).collect();
    lens.extend((400..content.len()).step_by(content.len() / 100));
    for len in lens {
        let was_opened = use_damaged(&content[..len]).await;
        assert_eq!(was_opened, len == 0, "{len}");
    }
}

/// Flips each bit of the header, and random bits after it. The environment variable `FLIPS` sets
/// the number of random bits. The default is 1,000.
#[tokio::test]
async fn flipped_bit_is_an_error_or_has_no_effect() {
    const HEADER: usize = 320;
    let directory = tempdir().unwrap();
    let content = content_of_a_log(&directory.path().join("log")).await;
    let others = setting("FLIPS", 1_000);
    let others = (0..others).map(|_| fastrand::usize(8 * HEADER..8 * content.len()));
    let (mut flips, mut detected) = (0, 0);
    for bit in (0..8 * HEADER).chain(others) {
        let mut content = content.clone();
        content[bit / 8] ^= 1 << (bit % 8);
        flips += 1;
        detected += u64::from(!use_damaged(&content).await);
    }
    assert!(
        detected > flips / 10,
        "only {detected} of {flips} were detected"
    );
}

/// A bit flips while the log is open, so redb does not notice.
#[tokio::test]
async fn bit_flipped_later_does_not_change_an_event() {
    let disk = Disk::new();
    let log = open_log_on(&disk).await;
    let texts: Topic<String> = Topic::open(&log, "texts").await.unwrap();
    let needle = "a needle".repeat(10);
    let filler = "a haystack".repeat(50_000);
    texts.publish(&needle).await.unwrap();
    for _ in 0..100 {
        texts.publish(&filler).await.unwrap();
    }
    drop(texts);
    let content = disk.content();
    let mut flipped = 0;
    for at in 0..content.len() - needle.len() {
        if content[at..].starts_with(needle.as_bytes()) {
            disk.write(at as u64, b"A").unwrap();
            flipped += 1;
        }
    }
    assert!(flipped > 0);
    // The event may still be read correctly, because its page may be in redb's cache.
    if let Ok(texts) = Topic::<String>::builder()
        .keep(1_000)
        .open(&log, "texts")
        .await
    {
        let mut reader = texts.subscribe(Start::First);
        assert_eq!(recv(&mut reader).await.unwrap().unwrap().1, needle);
    }
}
