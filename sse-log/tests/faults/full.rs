//! Tests full disks.

use std::{
    fs, io,
    ops::Bound,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use redb::{BackendError, StorageBackend, backends::FileBackend};
use sse_log::Log;
use sse_runtime::{Topic, topic::PublishError};
use tempfile::tempdir;

use crate::{
    disk::{Disk, closed, open_disk, open_log_on},
    support::{PATIENCE, open, publish_all, read_all, values},
};

/// Publishes texts until one is rejected. Returns the number of texts that were stored.
async fn fill(texts: &Topic<String>) -> usize {
    for count in 0.. {
        match texts.publish(&count.to_string().repeat(10_000)).await {
            Ok(_) => {}
            Err(PublishError::Unavailable { source, .. }) => {
                assert!(source.to_string().contains("full"), "{source}");
                return count;
            }
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!()
}

/// Tries to publish until an attempt succeeds.
async fn publish_again(texts: &Topic<String>) {
    let start = Instant::now();
    while let Err(error) = texts.publish(&"again".to_owned()).await {
        assert!(matches!(error, PublishError::Unavailable { .. }), "{error}");
        assert!(start.elapsed() < PATIENCE, "{error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn full_disk(set_full: impl Fn(&Disk), set_free: impl Fn(&Disk)) {
    let disk = Disk::new();
    let log = open_log_on(&disk).await;
    let texts: Topic<String> = Topic::open(&log, "texts").await.unwrap();
    let mut stored = Vec::new();
    for _ in 0..3 {
        set_full(&disk);
        let count = fill(&texts).await;
        stored.extend((0..count).map(|count| count.to_string().repeat(10_000)));
        assert!(!log.is_healthy());
        // The log can still be read, even if the topic is not open yet.
        let events = read_all(&texts).await;
        assert!(events.iter().map(|(_, text)| text).eq(&stored));

        set_free(&disk);
        publish_again(&texts).await;
        stored.push("again".to_owned());
        assert!(log.is_healthy());
    }
    drop((log, texts));
    closed(&disk).await;

    // No rejected event is stored, and no acknowledged event is missing.
    let log = open_log_on(&disk).await;
    let texts: Topic<String> = Topic::open(&log, "texts").await.unwrap();
    let events = read_all(&texts).await;
    assert!(events.iter().map(|(_, text)| text).eq(&stored));
}

#[tokio::test]
async fn log_recovers_when_the_disk_has_room_again() {
    let free = |disk: &Disk| disk.0.limit.store(u64::MAX, Ordering::SeqCst);
    full_disk(|disk| disk.leave(1_000_000), free).await;
}

/// Not even the file's existing pages can be overwritten, as on a copy-on-write file system. In
/// this case, redb cannot be reopened either.
#[tokio::test]
async fn log_recovers_when_no_write_has_succeeded() {
    let free = |disk: &Disk| disk.0.does_write_fail.store(false, Ordering::SeqCst);
    let disk = Disk::new();
    let (log, numbers) = open_disk(&disk).await;
    publish_all(&numbers, 0..3).await;
    disk.0.does_write_fail.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let key = 7;
        let rejected = numbers.publish_with_key(key, &3).await;
        assert!(rejected.is_err());
        assert!(!log.is_healthy());
    }
    free(&disk);
    let start = Instant::now();
    while numbers.publish_with_key(7, &3).await.is_err() {
        assert!(start.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(log.is_healthy());
    drop((log, numbers));
    closed(&disk).await;
    let (_log, numbers) = open_disk(&disk).await;
    assert_eq!(values(&read_all(&numbers).await), [0, 1, 2, 3]);
}

/// The log becomes healthy without an attempt to publish. Otherwise, an orchestrator that has
/// stopped sending requests to the process would never resume.
#[tokio::test]
async fn log_becomes_healthy_without_an_append() {
    let disk = Disk::new();
    let log = open_log_on(&disk).await;
    let texts: Topic<String> = Topic::open(&log, "texts").await.unwrap();
    disk.leave(0);
    fill(&texts).await;
    assert!(!log.is_healthy());
    disk.0.limit.store(u64::MAX, Ordering::SeqCst);
    let start = Instant::now();
    while !log.is_healthy() {
        assert!(start.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    texts.publish(&"a".to_owned()).await.unwrap();
}

/// A file on a disk that does not have enough free space for large events.
#[derive(Debug)]
struct FullForLarge(FileBackend);

impl StorageBackend for FullForLarge {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match data.len() {
            300_000.. => Err(io::ErrorKind::StorageFull.into()),
            _ => self.0.write(offset, data),
        }
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.unlock_range(start, end)
    }
}

/// redb is reopened after the disk was full. Meanwhile, another process that is waiting for the
/// file must not be able to lock it.
#[tokio::test]
async fn lock_is_held_while_the_disk_is_full() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    let file = fs::File::options();
    let file = { file }
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .unwrap();
    let backend = FullForLarge(FileBackend::new(file).unwrap());
    let log = Log::builder().open_backend(backend).await.unwrap();
    let texts: Topic<String> = Topic::open(&log, "texts").await.unwrap();
    let waiting = tokio::spawn({
        let path = path.clone();
        async move { open(&path).await }
    });
    for _ in 0..20 {
        let rejected = texts.publish(&"a".repeat(400_000)).await;
        assert!(
            matches!(rejected, Err(PublishError::Unavailable { .. })),
            "{rejected:?}"
        );
        assert!(!waiting.is_finished());
    }
    drop((log, texts));
    let log = waiting.await.unwrap();
    let texts: Topic<String> = Topic::open(&log, "texts").await.unwrap();
    assert!(read_all(&texts).await.is_empty());
}
