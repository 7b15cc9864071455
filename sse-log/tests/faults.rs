//! Tests disks that fail or are full, files that are locked or damaged, and files of other
//! programs.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    ops::Bound,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redb::{
    BackendError, Database, StorageBackend, TableDefinition,
    backends::{FileBackend, InMemoryBackend},
};
use sse_log::{Log, LogError};
use sse_runtime::{
    Start, Topic,
    topic::{GapReason, PublishError},
};
use support::{
    PATIENCE, open, open_numbers, publish_all, read_all, read_to, recv, setting, values,
};
use tempfile::tempdir;

/// A disk that can be made to fail.
#[derive(Clone, Debug)]
struct Disk(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    content: InMemoryBackend,
    is_locked: AtomicBool,
    /// Whether each sync fails.
    does_sync_fail: AtomicBool,
    /// Whether each write fails.
    does_write_fail: AtomicBool,
    syncs: AtomicU64,
    /// Whether each sync hangs.
    does_sync_hang: AtomicBool,
    /// The maximum size of the file, in bytes.
    limit: AtomicU64,
}

impl Disk {
    fn new() -> Self {
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

    fn holding(content: &[u8]) -> Self {
        let disk = Self::new();
        disk.set_len(content.len() as u64).unwrap();
        disk.write(0, content).unwrap();
        disk
    }

    fn content(&self) -> Vec<u8> {
        let mut content = vec![0; usize::try_from(self.len().unwrap()).unwrap()];
        self.read(0, &mut content).unwrap();
        content
    }

    /// Leaves this much free space on the disk.
    fn leave(&self, bytes: u64) {
        let len = self.0.content.len().unwrap();
        self.0.limit.store(len + bytes, Ordering::SeqCst);
    }
}

/// Waits until a log that was dropped has been closed. Like a file, a disk must not be opened twice.
async fn closed(disk: &Disk) {
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
async fn open_log_on(disk: &Disk) -> Log {
    let start = Instant::now();
    loop {
        match Log::builder().open_backend(disk.clone()).await {
            Err(LogError::Locked { .. }) if start.elapsed() < PATIENCE => {}
            opened => return opened.unwrap(),
        }
    }
}

async fn open_disk(disk: &Disk) -> (Log, Topic<u64>) {
    let log = open_log_on(disk).await;
    let numbers = Topic::open(&log, "numbers").await.unwrap();
    (log, numbers)
}

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

/// The environment variable that makes this binary hold a log open until its stdin is closed.
const HELD: &str = "SSE_LOG_HELD";

#[tokio::test]
async fn child() {
    let Ok(path) = std::env::var(HELD) else {
        return;
    };
    let _log = open(Path::new(&path)).await;
    io::stdout().write_all(b"\nopen\n").unwrap();
    let _ = io::stdin().read(&mut [0]);
}

/// Starts a process that holds the log open. The process runs as long as its stdout is not dropped.
fn hold(path: &Path) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture", "--test-threads=1"])
        .env(HELD, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut lines = stdout.by_ref().lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "open"));
    (child, stdout)
}

#[tokio::test]
async fn open_fails_while_another_process_holds_the_log() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    let (mut child, _stdout) = hold(&path);
    let timeout = Duration::from_millis(300);
    let start = Instant::now();
    let opened = Log::builder().lock_timeout(timeout).open(&path).await;
    let Err(LogError::Locked {
        path: named,
        waited,
        ..
    }) = opened
    else {
        panic!("{opened:?}");
    };
    assert_eq!(named, path);
    assert!(waited >= timeout && start.elapsed() >= timeout);
    child.kill().unwrap();
    child.wait().unwrap();
    open(&path).await;
}

#[tokio::test]
async fn open_waits_until_another_process_closes_the_log() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    let (mut child, _stdout) = hold(&path);
    let opening = tokio::spawn({
        let path = path.clone();
        async move { open(&path).await }
    });
    // The call has started and is waiting.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!opening.is_finished());
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    opening.await.unwrap();
}

/// A runtime waits for its blocking threads when it is dropped.
#[tokio::test]
async fn cancelled_open_stops_waiting() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    let _log = open(&path).await;
    let (stopped, has_stopped) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let hour = Duration::from_secs(3600);
        let opened = runtime.block_on(async {
            let opening = Log::builder().lock_timeout(hour).open(&path);
            tokio::time::timeout(Duration::from_millis(100), opening).await
        });
        assert!(opened.is_err());
        drop(runtime);
        stopped.send(())
    });
    tokio::time::timeout(PATIENCE, has_stopped)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn file_of_another_program_is_not_changed() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
        .take(100_000)
        .collect();
    let mut zeros_and_data = vec![0; 10_000];
    zeros_and_data[5_000] = 1;
    for content in [
        b"hello".to_vec(),
        b"redb".to_vec(),
        b"redbook\n".repeat(1_000),
        noise,
        zeros_and_data,
        vec![0; 2_000_000],
    ] {
        fs::write(&path, &content).unwrap();
        let opened = Log::open(&path).await;
        assert!(
            matches!(&opened, Err(LogError::NotALog { path: named, .. }) if *named == path),
            "{opened:?}"
        );
        assert!(fs::read(&path).unwrap() == content);
    }
}

#[tokio::test]
async fn database_of_another_program_is_not_changed() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    for name in ["other", "meta"] {
        let database = Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        let table: TableDefinition<'_, u64, u64> = TableDefinition::new(name);
        transaction.open_table(table).unwrap().insert(1, 2).unwrap();
        transaction.commit().unwrap();
        drop(database);
        let content = fs::read(&path).unwrap();
        let opened = Log::open(&path).await;
        assert!(
            matches!(opened, Err(LogError::NotALog { .. })),
            "{opened:?}"
        );
        assert!(fs::read(&path).unwrap() == content);
        fs::remove_file(&path).unwrap();
    }
}

#[tokio::test]
async fn log_with_a_newer_format_is_not_changed() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    let (log, numbers) = open_numbers(&path).await;
    publish_all(&numbers, 0..3).await;
    drop((log, numbers));
    let database = open_when_closed(&path);
    let transaction = database.begin_write().unwrap();
    let meta: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
    transaction
        .open_table(meta)
        .unwrap()
        .insert("format", 9)
        .unwrap();
    transaction.commit().unwrap();
    drop(database);

    let content = fs::read(&path).unwrap();
    let opened = Log::open(&path).await;
    let Err(LogError::NewerFormat {
        found, supported, ..
    }) = &opened
    else {
        panic!("{opened:?}");
    };
    assert_eq!((*found, *supported), (9, 1));
    let message = opened.unwrap_err().to_string();
    assert!(
        message.contains("format 9") && message.contains("format 1"),
        "{message}"
    );
    assert!(fs::read(&path).unwrap() == content);
}

/// Opens the database as soon as its log has been closed.
fn open_when_closed(path: &Path) -> Database {
    let start = Instant::now();
    loop {
        match Database::open(path) {
            Err(redb::DatabaseError::DatabaseAlreadyOpen) if start.elapsed() < PATIENCE => {
                std::thread::yield_now();
            }
            opened => return opened.unwrap(),
        }
    }
}

#[tokio::test]
async fn missing_directory_is_an_error() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("missing/log");
    let opened = Log::open(&path).await;
    let Err(LogError::Io { source, .. }) = opened else {
        panic!("{opened:?}");
    };
    assert_eq!(source.kind(), io::ErrorKind::NotFound);
}

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

#[tokio::test]
async fn log_is_not_opened_twice() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    let log = open(&path).await;
    let second = Log::builder()
        .lock_timeout(Duration::ZERO)
        .open(&path)
        .await;
    assert!(matches!(second, Err(LogError::Locked { .. })), "{second:?}");
    drop(log);
    open(&path).await;
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
