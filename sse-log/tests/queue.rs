//! Requests that wait for the writer.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::{
    io,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use redb::{StorageBackend, backends::InMemoryBackend};
use sse_log::Log;
use sse_runtime::Topic;
use support::read_all;
use tokio::time::timeout;

/// A disk whose syncs can be made to hang.
#[derive(Clone, Debug)]
struct Disk(Arc<(InMemoryBackend, Mutex<bool>, Condvar)>);

impl Disk {
    fn set_hanging(&self, hangs: bool) {
        *self.0.1.lock().unwrap() = hangs;
        self.0.2.notify_all();
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.0.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let hangs = self.0.1.lock().unwrap();
        drop(self.0.2.wait_while(hangs, |hangs| *hangs).unwrap());
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.0.write(offset, data)
    }
}

/// If the disk does not respond and publishers are cancelled, their events must neither fill the
/// memory nor be stored much later.
#[tokio::test(flavor = "multi_thread")]
async fn events_of_cancelled_publishers_are_not_stored() {
    let disk = Disk(Arc::new((
        InMemoryBackend::new(),
        Mutex::new(false),
        Condvar::new(),
    )));
    let log = Log::builder().open_backend(disk.clone()).await.unwrap();
    let topic: Topic<u64> = Topic::builder()
        .keep(100_000)
        .open(&log, "numbers")
        .await
        .unwrap();
    disk.set_hanging(true);
    for value in 0..2_000 {
        let published = timeout(Duration::from_micros(500), topic.publish(&value)).await;
        assert!(published.is_err());
    }
    disk.set_hanging(false);
    topic.publish(&9999).await.unwrap();
    let stored = read_all(&topic).await.len();
    assert!(stored < 100, "{stored} events were stored");
}
