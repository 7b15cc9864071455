//! `Server::grace`, with streams, clients and hooks that would delay the shutdown.

use std::time::{Duration, Instant};

use support::{Client, within};
use tokio::time::timeout;

use super::{Process, retry, to_the_end};

/// How much longer than the grace time a test allows on a busy machine. With the default times, the
/// server would take much longer than this.
const SLACK: Duration = Duration::from_secs(2);

/// Sends SIGTERM to a server with endless streams, a client that does not read and a close hook that
/// hangs, each of which uses up the time limit of another step.
async fn exits_within(total: Duration) {
    let mut server = Process::start("grace", &total.as_millis().to_string()).await;
    let mut streams = Vec::new();
    for _ in 0..10 {
        streams.push(server.stream("/quiet").await);
    }
    let mut hanging = server.stream("/hanging-hook").await;
    let mut stalled = Client::connect_narrow(server.addr).await;
    stalled
        .send(b"GET /flood HTTP/1.1\r\nhost: test\r\n\r\n")
        .await;
    stalled.head().await;

    let start = Instant::now();
    server.signal("TERM").await;
    let ended = async {
        for stream in &mut streams {
            retry(&to_the_end(stream).await);
        }
        retry(&to_the_end(&mut hanging).await);
    };
    within("the streams to end", ended).await;
    let exit = timeout(total + SLACK, server.exit()).await;
    let took = start.elapsed();
    assert!(exit.is_ok_and(|exit| exit.success()), "after {took:?}");
    assert!(took < total + SLACK, "{total:?} took {took:?}");
    drop(stalled);

    let expected =
        format!("and exits within {total:?} at the latest; the platform must allow that long");
    let mut log = Vec::new();
    while let Some(line) = server.lines.next_line().await.unwrap() {
        log.push(line);
    }
    let is_expected = |line: &String| {
        line.contains("the server is no longer ready, accepts connections for another")
            && line.contains(&expected)
    };
    assert!(log.iter().any(is_expected), "{log:#?}");
    // Otherwise, the hook and the client did not use up their time limits.
    for step in ["abandoning close hooks", "closing connections that are"] {
        assert!(log.iter().any(|line| line.contains(step)), "{log:#?}");
    }
}

#[tokio::test]
async fn shutdown_ends_within_a_short_grace_time() {
    exits_within(Duration::from_secs(2)).await;
}

#[tokio::test]
async fn shutdown_ends_within_the_grace_time() {
    exits_within(Duration::from_secs(5)).await;
}

/// The streams would end at any time within the 60 s, and an idle connection stays open until the
/// server closes it.
#[tokio::test]
async fn drain_ends_early_if_no_stream_is_open() {
    let mut server = Process::start("0", "60000").await;
    let mut idle = Client::get(server.addr, "/id").await;
    assert_eq!(idle.head().await.status_line, "HTTP/1.1 200 OK");
    server.signal("TERM").await;
    assert!(server.exit().await.success());
}

/// Requests may still arrive during the drain delay, so the delay does not end early.
#[tokio::test]
async fn drain_delay_lasts_even_if_no_stream_is_open() {
    let delay = Duration::from_secs(1);
    let mut server = Process::start("1000", "60000").await;
    assert_eq!(server.status("/readyz").await, "HTTP/1.1 200 OK");
    let start = Instant::now();
    server.signal("TERM").await;
    assert!(server.exit().await.success());
    assert!(start.elapsed() >= delay);
}
