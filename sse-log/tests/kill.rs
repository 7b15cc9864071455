//! Kills a process while it publishes.
//!
//! In each round, the test starts this binary as a child process, kills it, and checks the log. The
//! environment variable `KILLS` sets the number of rounds. The default is 50.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use sse_runtime::Start;
use support::{open_numbers, parts, read_all, setting};
use tempfile::tempdir;
use tokio::task::spawn_blocking;

/// The environment variable that makes this binary the child. It contains the path of the log.
const LOG: &str = "SSE_LOG_KILLED";

const PUBLISHERS: u64 = 4;

/// Publishes until the process is killed. Each line on stdout contains the id and the value of an
/// event that was acknowledged (`A`) or read (`S`).
#[test]
fn child() {
    let Ok(path) = std::env::var(LOG) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(publish_until_killed(Path::new(&path)));
}

async fn publish_until_killed(path: &Path) {
    let print = |line: String| std::io::stdout().write_all(line.as_bytes()).unwrap();
    let (_log, numbers) = open_numbers(path).await;
    let mut reader = numbers.subscribe(Start::Now);
    let reading = tokio::spawn(async move {
        while let Some(update) = reader.recv().await {
            let update = update.unwrap();
            print(format!("\nS {} {}\n", update.id(), *update));
        }
    });
    let round: u64 = fastrand::u64(..1 << 30);
    for publisher in 0..PUBLISHERS {
        let numbers = numbers.clone();
        tokio::spawn(async move {
            for sequence in 0.. {
                let value = (round << 32) | (sequence * PUBLISHERS + publisher);
                // Publish every other event twice, as if the first reply had been lost.
                let key = u128::from(value);
                let id = numbers.publish_with_key(key, &value).await.unwrap();
                if sequence % 2 == 0 {
                    let again = numbers.publish_with_key(key, &value).await.unwrap();
                    assert_eq!(again, id);
                }
                print(format!("\nA {id} {value}\n"));
            }
        });
    }
    reading.await.unwrap();
}

/// The output of a child: the ids and values of the events that were acknowledged and read, in
/// order.
#[derive(Default)]
struct Printed {
    acknowledged: Vec<(String, u64)>,
    seen: Vec<(String, u64)>,
}

/// Runs a child and kills it between 5 and 50 milliseconds after its first line of output.
fn run_and_kill(path: &Path) -> Printed {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture", "--test-threads=1"])
        .env(LOG, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut child = Some(child);
    let mut killing = None;
    let mut printed = Printed::default();
    let mut line = String::new();
    // The last line may be incomplete.
    while lines.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
        let mut words = line.split_whitespace();
        let list = match words.next() {
            Some("A") => Some(&mut printed.acknowledged),
            Some("S") => Some(&mut printed.seen),
            _ => None,
        };
        if let Some(list) = list {
            let (id, value) = (words.next().unwrap(), words.next().unwrap());
            list.push((id.to_owned(), value.parse().unwrap()));
            if let Some(mut child) = child.take() {
                killing = Some(thread::spawn(move || {
                    thread::sleep(Duration::from_micros(fastrand::u64(5_000..50_000)));
                    child.kill().unwrap();
                    child.wait().unwrap()
                }));
            }
        }
        line.clear();
    }
    let killing = killing.expect("the child printed no event");
    assert_eq!(killing.join().unwrap().code(), None);
    printed
}

#[tokio::test]
async fn acknowledged_events_survive_kill() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("log");
    let start = Instant::now();
    let rounds = setting("KILLS", 50);
    let mut before: Vec<(String, u64)> = Vec::new();
    let mut acknowledged = 0;
    for round in 0..rounds {
        let killing = spawn_blocking({
            let path = path.clone();
            move || run_and_kill(&path)
        });
        let printed = killing.await.unwrap();
        let (log, numbers) = open_numbers(&path).await;
        let events = read_all(&numbers).await;
        drop((log, numbers));
        let events: Vec<_> = events
            .into_iter()
            .map(|(id, value)| (id.to_string(), value))
            .collect();

        // No event found in an earlier round has been lost or changed.
        assert_eq!(events[..before.len()], before, "round {round}");
        let mut places = HashMap::new();
        let mut values = HashMap::new();
        for (index, (id, value)) in events.iter().enumerate() {
            let (epoch, number, _) = parts(id);
            assert_eq!(epoch, parts(&events[0].0).0);
            assert_eq!(number, index as u64 + 1, "the numbers are dense");
            places.insert(id.as_str(), *value);
            assert_eq!(values.insert(*value, index), None, "a key is stored twice");
        }
        for (id, value) in printed.acknowledged.iter().chain(&printed.seen) {
            assert_eq!(places.get(id.as_str()), Some(value), "round {round}");
        }
        // Each publisher's events are stored in the order in which they were published.
        let mut newest = HashMap::new();
        for (_, value) in &events {
            let publisher = (value >> 32, value % PUBLISHERS);
            let previous = newest.insert(publisher, *value);
            assert!(previous.is_none_or(|previous| previous + PUBLISHERS == *value));
        }
        // The reader has read consecutive events.
        let seen: Vec<u64> = printed.seen.iter().map(|(id, _)| parts(id).1).collect();
        assert!(seen.windows(2).all(|pair| pair[0] + 1 == pair[1]));
        acknowledged += printed.acknowledged.len();
        before = events;
    }
    let _ = writeln!(
        std::io::stderr(),
        "{rounds} kills, {acknowledged} acknowledged events, {} stored, {:?}",
        before.len(),
        start.elapsed(),
    );
}
