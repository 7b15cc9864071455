//! Tests files that are locked, missing, or written by another program.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use redb::{Database, TableDefinition};
use sse_log::{Log, LogError};
use tempfile::tempdir;

use crate::support::{PATIENCE, open, open_numbers, publish_all};

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
        .args(["files::child", "--exact", "--nocapture", "--test-threads=1"])
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
pub(crate) fn open_when_closed(path: &Path) -> Database {
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
