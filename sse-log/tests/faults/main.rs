//! Tests disks that fail or are full, files that are locked or damaged, and files of other
//! programs.

#![allow(clippy::unwrap_used)]

mod damaged;
mod disk;
mod files;
mod full;
#[path = "../support/mod.rs"]
mod support;

use std::{sync::atomic::Ordering, time::Duration};

use sse_runtime::{
    Start, Topic,
    topic::{GapReason, PublishError},
};

use disk::{Disk, closed, open_disk};
use support::{publish_all, read_all, recv, values};

#[tokio::test]
async fn failed_sync_poisons_the_log() {
    let disk = Disk::new();
    let (log, numbers) = open_disk(&disk).await;
    let ids = publish_all(&numbers, 0..3).await;
    let mut reader = numbers.subscribe(Start::First);

    disk.0.does_sync_fail.store(true, Ordering::SeqCst);
    let syncs = disk.0.syncs.load(Ordering::SeqCst);
    let unknown = numbers.publish_with_key(7, &3).await;
    assert!(
        matches!(unknown, Err(PublishError::Unknown { .. })),
        "{unknown:?}"
    );
    assert!(!log.is_healthy());

    // A failed sync is not repeated, even if it would now succeed.
    disk.0.does_sync_fail.store(false, Ordering::SeqCst);
    for _ in 0..3 {
        let later = numbers.publish(&4).await;
        assert!(
            matches!(later, Err(PublishError::Unavailable { .. })),
            "{later:?}"
        );
    }
    let finished = numbers.finish().await;
    assert!(matches!(finished, Err(PublishError::Unavailable { .. })));
    assert_eq!(disk.0.syncs.load(Ordering::SeqCst), syncs + 1);
    assert!(!log.is_healthy());

    // Readers have received exactly the events that are certain to be on the disk.
    for (id, value) in ids.iter().zip(0..) {
        assert_eq!(recv(&mut reader).await, Some(Ok((id.clone(), value))));
    }
    assert_eq!(values(&read_all(&numbers).await), [0, 1, 2]);
    drop((log, numbers, reader));
    closed(&disk).await;

    // After a restart, the event may or may not be stored. If it is published again, it is stored
    // only once.
    let (log, numbers) = open_disk(&disk).await;
    numbers.publish_with_key(7, &3).await.unwrap();
    assert_eq!(values(&read_all(&numbers).await), [0, 1, 2, 3]);
    assert!(log.is_healthy());
}

#[tokio::test]
async fn client_ahead_of_the_disk_receives_a_gap() {
    let disk = Disk::new();
    let (log, numbers) = open_disk(&disk).await;
    publish_all(&numbers, 0..3).await;
    let backup = disk.content();
    let lost = publish_all(&numbers, 3..5).await;
    drop((log, numbers));

    let disk = Disk::holding(&backup);
    let (_log, numbers) = open_disk(&disk).await;
    let mut reader = numbers.subscribe(lost[1].clone());
    let gap = recv(&mut reader).await.unwrap().unwrap_err();
    assert_eq!(gap.reason(), GapReason::RolledBack);
}

/// An existing topic can be opened while the disk does not respond to a sync.
#[tokio::test]
async fn topic_can_be_opened_while_a_sync_hangs() {
    let disk = Disk::new();
    let (log, numbers) = open_disk(&disk).await;
    publish_all(&numbers, 0..3).await;
    drop(numbers);
    let other: Topic<u64> = Topic::open(&log, "other").await.unwrap();
    let syncs = disk.0.syncs.load(Ordering::SeqCst);
    disk.0.does_sync_hang.store(true, Ordering::SeqCst);
    let publishing = tokio::spawn(async move { other.publish(&1).await });
    while disk.0.syncs.load(Ordering::SeqCst) == syncs {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let opened = Topic::<u64>::open(&log, "numbers").await;
    disk.0.does_sync_hang.store(false, Ordering::SeqCst);
    publishing.await.unwrap().unwrap();
    assert_eq!(values(&read_all(&opened.unwrap()).await), [0, 1, 2]);
}
