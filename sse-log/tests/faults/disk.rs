//! A disk that can be made to fail.

use std::{
    io,
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redb::{BackendError, StorageBackend, backends::InMemoryBackend};
use sse_log::{Log, LogError};
use sse_runtime::Topic;

use crate::support::PATIENCE;

/// A disk that can be made to fail.
#[derive(Clone, Debug)]
pub(crate) struct Disk(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    content: InMemoryBackend,
    is_locked: AtomicBool,
    /// Whether each sync fails.
    pub(crate) does_sync_fail: AtomicBool,
    /// Whether each write fails.
    pub(crate) does_write_fail: AtomicBool,
    pub(crate) syncs: AtomicU64,
    /// Whether each sync hangs.
    pub(crate) does_sync_hang: AtomicBool,
    /// The maximum size of the file, in bytes.
    pub(crate) limit: AtomicU64,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            content: InMemoryBackend::new(),
            is_locked: AtomicBool::new(false),
            does_sync_fail: AtomicBool::new(false),
            does_write_fail: AtomicBool::new(false),
            syncs: AtomicU64::new(0),
            does_sync_hang: AtomicBool::new(false),
            limit: AtomicU64::new(u64::MAX),
        }))
    }

    pub(crate) fn holding(content: &[u8]) -> Self {
        let disk = Self::new();
        disk.set_len(content.len() as u64).unwrap();
        disk.write(0, content).unwrap();
        disk
    }

    pub(crate) fn content(&self) -> Vec<u8> {
        let mut content = vec![0; usize::try_from(self.len().unwrap()).unwrap()];
        self.read(0, &mut content).unwrap();
        content
    }

    /// Leaves this much free space on the disk.
    pub(crate) fn leave(&self, bytes: u64) {
        let len = self.0.content.len().unwrap();
        self.0.limit.store(len + bytes, Ordering::SeqCst);
    }
}

/// Waits until a log that was dropped has been closed. Like a file, a disk must not be opened twice.
pub(crate) async fn closed(disk: &Disk) {
    while Arc::strong_count(&disk.0) > 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.0.content.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let read = self.0.content.read(offset, out);
        // Reading past the end fails, as it does for a file.
        read.map_err(|_| io::ErrorKind::UnexpectedEof.into())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if len > self.0.limit.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.content.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.syncs.fetch_add(1, Ordering::SeqCst);
        while self.0.does_sync_hang.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        match self.0.does_sync_fail.load(Ordering::SeqCst) {
            true => Err(io::Error::other("the disk has failed")),
            false => Ok(()),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match self.0.does_write_fail.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => self.0.content.write(offset, data),
        }
    }

    fn close(&self) -> io::Result<()> {
        self.0.is_locked.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(!self.0.is_locked.swap(true, Ordering::SeqCst))
    }
}

/// Opens the log on a disk, once it has been closed.
pub(crate) async fn open_log_on(disk: &Disk) -> Log {
    let start = Instant::now();
    loop {
        match Log::builder().open_backend(disk.clone()).await {
            Err(LogError::Locked { .. }) if start.elapsed() < PATIENCE => {}
            opened => return opened.unwrap(),
        }
    }
}

pub(crate) async fn open_disk(disk: &Disk) -> (Log, Topic<u64>) {
    let log = open_log_on(disk).await;
    let numbers = Topic::open(&log, "numbers").await.unwrap();
    (log, numbers)
}
