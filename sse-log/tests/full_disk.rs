//! Stores logs on a small tmpfs, which each test mounts. If the process is not allowed to mount it,
//! the tests print `SKIPPED`.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use sse_log::{Log, LogError};
use sse_runtime::{Start, Topic, topic::PublishError};
use support::{PATIENCE, open, publish_all, read_all, recv, values};
use tempfile::{TempDir, tempdir};

/// A mounted tmpfs. It is unmounted when dropped.
struct Disk(TempDir);

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

impl Disk {
    /// Returns `None` and prints `SKIPPED` if the process is not allowed to mount a disk.
    fn mount(test: &str) -> Option<Self> {
        let disk = Self(tempdir().unwrap());
        let path = disk.path("").to_str().unwrap().to_owned();
        if let Err(error) = run("mount", &["-t", "tmpfs", "-o", "size=8m", "tmpfs", &path]) {
            let skipped = format!("\nSKIPPED: {test}: {error}\n");
            std::io::stderr().write_all(skipped.as_bytes()).unwrap();
            return None;
        }
        Some(disk)
    }

    fn remount(&self, option: &str) -> Result<(), String> {
        let path = self.path("").to_str().unwrap().to_owned();
        run("mount", &["-o", &format!("remount,{option}"), &path])
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A log that is being closed may still use the disk. A lazy unmount detaches the disk now and
        // releases it once the log is closed.
        let _ = run("umount", &["--lazy", self.0.path().to_str().unwrap()]);
    }
}

/// Fills the disk with a file.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    let zeros = [0; 4096];
    while file.write_all(&zeros).is_ok() {}
}

/// Reopens a log, waiting until the previous handle has been closed.
async fn open_again(path: &Path) -> Log {
    let start = Instant::now();
    loop {
        match Log::open(path).await {
            Err(LogError::Locked { .. }) if start.elapsed() < PATIENCE => {}
            opened => return opened.unwrap(),
        }
    }
}

#[tokio::test]
async fn acknowledged_events_survive_a_full_disk() {
    let Some(disk) = Disk::mount("acknowledged_events_survive_a_full_disk") else {
        return;
    };
    let path = disk.path("log");
    let log = open(&path).await;
    let topic = async || -> Topic<String> {
        let opening = Topic::builder().keep(100_000).open(&log, "texts");
        opening.await.unwrap()
    };
    let texts = topic().await;
    let mut reader = texts.subscribe(Start::First);
    let mut stored = 0;
    for round in 0..3 {
        let filler = disk.path(&format!("filler-{round}"));
        fill(&filler);
        let error = loop {
            match texts.publish(&"x".repeat(10_000)).await {
                Ok(_) => stored += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, PublishError::Unavailable { .. }), "{error}");
        assert!(!log.is_healthy());
        // The open stream continues, and the topic can still be read.
        while reader.position() != texts.subscribe(Start::Now).position() {
            recv(&mut reader).await.unwrap().unwrap();
        }
        assert_eq!(read_all(&texts).await.len(), stored);

        fs::remove_file(&filler).unwrap();
        let start = Instant::now();
        while let Err(error) = texts.publish(&"again".to_owned()).await {
            assert!(matches!(error, PublishError::Unavailable { .. }), "{error}");
            assert!(start.elapsed() < PATIENCE, "{error}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stored += 1;
        assert!(log.is_healthy());
        assert_eq!(recv(&mut reader).await.unwrap().unwrap().1, "again");
    }
    drop((texts, reader, log));
    let log = open_again(&path).await;
    let opening = Topic::<String>::builder().keep(100_000).open(&log, "texts");
    assert_eq!(read_all(&opening.await.unwrap()).await.len(), stored);
}

#[tokio::test]
async fn log_on_a_read_only_disk_is_not_changed() {
    let Some(disk) = Disk::mount("log_on_a_read_only_disk_is_not_changed") else {
        return;
    };
    let path = disk.path("log");
    let log = open(&path).await;
    let numbers = Topic::open(&log, "numbers").await.unwrap();
    publish_all(&numbers, 0..3).await;
    drop((numbers, log));
    drop(open_again(&path).await);
    // The disk can be remounted once the log has been closed.
    let start = Instant::now();
    while disk.remount("ro").is_err() {
        assert!(start.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let content = fs::read(&path).unwrap();
    for name in ["log", "new"] {
        let error = Log::open(disk.path(name)).await.unwrap_err();
        assert!(
            error
                .to_string()
                .contains(disk.path(name).to_str().unwrap()),
            "{error}"
        );
    }
    assert!(fs::read(&path).unwrap() == content);
    disk.remount("rw").unwrap();
    let log = open_again(&path).await;
    let numbers: Topic<u64> = Topic::open(&log, "numbers").await.unwrap();
    assert_eq!(values(&read_all(&numbers).await), [0, 1, 2]);
}

/// The disk is full, but some of the events on it have expired.
#[tokio::test]
async fn full_log_recovers_when_its_topics_expire() {
    let Some(disk) = Disk::mount("full_log_recovers_when_its_topics_expire") else {
        return;
    };
    let log = Log::builder().sweep_interval(Duration::from_secs(3600));
    let log = log.open(disk.path("log")).await.unwrap();
    let old = Topic::<String>::builder()
        .keep(100_000)
        .keep_for(Duration::from_secs(1));
    let old = old.open(&log, "old").await.unwrap();
    let other: Topic<u64> = Topic::open(&log, "other").await.unwrap();
    while old.publish(&"x".repeat(50_000)).await.is_ok() {}
    assert!(!log.is_healthy());
    drop(old);
    let start = Instant::now();
    while let Err(error) = other.publish(&1).await {
        assert!(start.elapsed() < PATIENCE, "{error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
