//! Publishes to a log, and measures the disk that stores the log. All files are created in the
//! current directory.
//!
//! | arguments | action |
//! | --- | --- |
//! | `publish SECONDS` | publishes events, and prints the number of events per second |
//! | `sync SECONDS` | calls `fdatasync`, and prints the number of calls per second |
//! | `fill FILE EVENTS` | creates a log with a finished topic for `sse-endpoint` to replay |

use std::{
    env, fs,
    fs::File,
    io::{self, ErrorKind, Write as _},
    time::{Duration, Instant},
};

use futures_util::{
    StreamExt as _,
    stream::{self, FuturesUnordered},
};
use peer::Tick;
use sse_log::Log;
use sse_runtime::Topic;

/// The number of events that are published at the same time.
const IN_FLIGHT: usize = 256;

/// The number of bytes written before each sync.
const BLOCK: usize = 4096;

/// How long to run before the measurement starts.
const WARM_UP: Duration = Duration::from_millis(500);

#[tokio::main]
async fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["publish", seconds] => println!("{}", publish(parse(seconds)).await?),
        ["sync", seconds] => println!("{}", sync(parse(seconds))?),
        ["fill", file, events] => fill(file, events.parse().expect("a number")).await?,
        _ => panic!(
            "unknown arguments; usage: disk publish SECONDS | sync SECONDS | fill FILE EVENTS"
        ),
    }
    Ok(())
}

fn parse(seconds: &str) -> Duration {
    Duration::from_secs_f64(seconds.parse().expect("a number of seconds"))
}

/// Returns the number of events published per second.
async fn publish(time: Duration) -> io::Result<f64> {
    const FILE: &str = "publish.redb";
    remove(FILE)?;
    let log = Log::open(FILE).await.map_err(io::Error::other)?;
    let topic = Topic::open(&log, "ticks").await.map_err(io::Error::other)?;
    let publish = async |seq| topic.publish(&Tick::new(seq)).await.expect("an open topic");
    let mut seqs = 0..;
    let mut in_flight = FuturesUnordered::new();
    in_flight.extend(seqs.by_ref().take(IN_FLIGHT).map(publish));
    let mut start = Instant::now();
    let mut published = None;
    loop {
        in_flight.next().await;
        in_flight.extend(seqs.next().map(publish));
        match &mut published {
            None if start.elapsed() >= WARM_UP => {
                start = Instant::now();
                published = Some(0_u64);
            }
            None => {}
            Some(published) => {
                *published += 1;
                if start.elapsed() >= time {
                    return Ok(*published as f64 / start.elapsed().as_secs_f64());
                }
            }
        }
    }
}

/// Returns the number of `fdatasync` calls per second. Before each call, one block is appended.
fn sync(time: Duration) -> io::Result<f64> {
    let mut file = File::create("sync.bin")?;
    let mut calls_within = |time| {
        let start = Instant::now();
        let mut calls = 0_u64;
        while start.elapsed() < time {
            file.write_all(&[1; BLOCK])?;
            // Calls `fdatasync` on Linux.
            file.sync_data()?;
            calls += 1;
        }
        io::Result::Ok(calls as f64 / start.elapsed().as_secs_f64())
    };
    calls_within(WARM_UP)?;
    calls_within(time)
}

async fn fill(file: &str, events: u64) -> io::Result<()> {
    remove(file)?;
    let log = Log::open(file).await.map_err(io::Error::other)?;
    let topic = Topic::builder().keep(usize::MAX).open(&log, "ticks").await;
    let topic = topic.map_err(io::Error::other)?;
    let publish = async |seq| topic.publish(&Tick::new(seq)).await.expect("an open topic");
    let publishing = stream::iter(0..events).map(publish);
    publishing.buffered(4096).for_each(async |_| {}).await;
    topic.finish().await.map_err(io::Error::other)
}

/// Removes a file if it exists.
fn remove(file: &str) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
