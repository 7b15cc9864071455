//! Signals sent to servers in separate processes.

use std::time::{Duration, Instant};

use support::{Client, within};
use tokio::task::JoinSet;

use super::{Process, retry, to_the_end};

/// This server installs no signal handlers, so the signal kills the process.
#[tokio::test]
async fn signal_kills_process_without_handlers() {
    use std::os::unix::process::ExitStatusExt as _;

    for (name, number) in [("TERM", 15), ("INT", 2)] {
        let mut server = Process::start("no-signals", "5000").await;
        let _client = Client::get(server.addr, "/quiet").await.head().await;
        server.signal(name).await;
        assert_eq!(server.exit().await.signal(), Some(number));
    }
}

/// Sends SIGTERM to a server with 1,000 endless streams and one stream that finishes.
async fn drains_and_exits_with_success(drain_delay: &str) {
    const CLIENTS: usize = 1_000;
    let mut server = Process::start(drain_delay, "2000").await;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let mut client = Client::get(server.addr, "/quiet").await;
        client.head().await;
        client.expect_chunk().await;
        clients.spawn(async move {
            let retry = retry(&to_the_end(&mut client).await);
            (Instant::now(), retry)
        });
    }
    let mut finite = Client::get(server.addr, "/finite/700").await;
    finite.head().await;
    finite.expect_chunk().await;

    let start = Instant::now();
    server.signal("TERM").await;
    assert_eq!(finite.expect_chunk().await, "data: \"last\"\n\n");
    assert_eq!(finite.chunk().await, Ok(None));
    let ends = within("the streams to end", clients.join_all()).await;
    assert!(server.exit().await.success());
    let took = start.elapsed();
    assert!(
        took < Duration::from_millis(200 + 2_000 + 1_000),
        "took {took:?}"
    );
    assert_eq!(ends.len(), CLIENTS);
    // The clients reconnect at different times.
    let back = ends
        .iter()
        .map(|(at, retry)| *at + Duration::from_millis(*retry));
    let (first, last) = (back.clone().min().unwrap(), back.max().unwrap());
    assert!(last - first > Duration::from_secs(2), "{:?}", last - first);
}

#[tokio::test]
async fn sigterm_drains_and_exits_with_success() {
    drains_and_exits_with_success("200").await;
}

#[tokio::test]
async fn sigterm_drains_a_plain_axum_serve() {
    drains_and_exits_with_success("plain").await;
}

#[tokio::test]
async fn sigterm_fails_readiness_before_draining() {
    let mut server = Process::start("60000", "100").await;
    assert_eq!(server.status("/readyz").await, "HTTP/1.1 200 OK");
    let mut early = Client::get(server.addr, "/quiet").await;
    early.head().await;
    early.expect_chunk().await;

    server.signal("TERM").await;
    within("the readiness probe to fail", async {
        while server.status("/readyz").await != "HTTP/1.1 503 Service Unavailable" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // The server still accepts connections, and the streams continue.
    let mut late = Client::get(server.addr, "/quiet").await;
    assert_eq!(late.head().await.status_line, "HTTP/1.1 200 OK");

    // A second signal ends the delay and the streams.
    server.signal("TERM").await;
    assert!(server.exit().await.success());
}

#[tokio::test]
async fn sigint_skips_the_drain_delay() {
    let mut server = Process::start("60000", "60000").await;
    let mut clients = Vec::new();
    // With this many streams, some streams would outlive the test's timeout if the server spread
    // the ends of all streams over the entire drain time.
    for _ in 0..20 {
        clients.push(server.stream("/quiet").await);
    }
    server.signal("INT").await;
    for client in &mut clients {
        retry(&to_the_end(client).await);
    }
    assert!(server.exit().await.success());
}

#[tokio::test]
async fn second_signal_ends_remaining_streams() {
    let mut server = Process::start("0", "60000").await;
    let _client = server.stream("/finite/3600000").await;
    server.exit_at_second_signal("TERM").await;
}

#[tokio::test]
async fn axum_serve_exits_despite_half_a_request() {
    let mut server = Process::start("plain", "100").await;
    let mut half = Client::connect(server.addr).await;
    half.send(b"GET /quiet HTTP/1.1\r\nhost:").await;
    // By the time a later connection receives a response, the server has accepted the first
    // connection.
    assert_eq!(server.status("/id").await, "HTTP/1.1 200 OK");
    server.signal("TERM").await;
    assert!(server.exit().await.success());
}

#[tokio::test]
async fn axum_serve_exits_at_a_second_signal() {
    let mut server = Process::start("plain", "60000").await;
    let _client = server.stream("/finite/3600000").await;
    server.exit_at_second_signal("INT").await;
}
