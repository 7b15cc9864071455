//! How streams end while the server drains.

use std::{
    collections::BTreeSet,
    future::pending,
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::{Router, extract::State, http::StatusCode};
use sse_runtime::{Shutdown, Stream, sse_endpoint};
use support::{Client, Generators, SseRouterExt as _, server_of, within};
use tokio::{net::TcpListener, task::JoinSet};

use super::{finite, retry, to_the_end};

#[sse_endpoint("/quiet", retry = "10s")]
async fn quiet(State(generators): State<Generators>) -> impl Stream<Item = u32> {
    let _running = generators.enter();
    yield_!(1);
    pending::<()>().await;
}

#[sse_endpoint("/hot")]
async fn hot(State(generators): State<Generators>) -> impl Stream<Item = u32> {
    let _running = generators.enter();
    loop {
        std::future::ready(()).await;
        if generators.count().alive == 0 {
            yield_!(1);
        }
    }
}

#[sse_endpoint("/never", on_shutdown = "finish", allow(finish_without_end))]
async fn never(State(generators): State<Generators>) -> impl Stream<Item = u32> {
    let _running = generators.enter();
    loop {
        yield_!(1);
        pending::<()>().await;
    }
}

/// Never begins its response.
#[sse_endpoint("/preparing")]
async fn preparing(
    State(generators): State<Generators>,
) -> Result<impl Stream<Item = u32>, StatusCode> {
    let _running = generators.enter();
    pending::<()>().await;
    yield_!(1);
}

/// An `axum::serve` server with the `Shutdown` layer and its signal.
struct Plain {
    addr: SocketAddr,
    shutdown: Shutdown,
    generators: Generators,
    served: JoinSet<std::io::Result<()>>,
}

impl Plain {
    async fn start(drain: Duration) -> Self {
        let shutdown = Shutdown::within(drain);
        let generators = Generators::new();
        let app = Router::new()
            .sse(quiet)
            .sse(hot)
            .sse(finite)
            .sse(never)
            .sse(preparing)
            .layer(shutdown.clone())
            .with_state(generators.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let begun = shutdown.clone();
        let mut served = JoinSet::new();
        served.spawn(async move {
            axum::serve(listener, app)
                .with_graceful_shutdown(async move { begun.on_signal().await.unwrap() })
                .await
        });
        Self {
            addr,
            shutdown,
            generators,
            served,
        }
    }

    /// Waits until the server has stopped. The server stops only once every connection is closed.
    async fn ended(mut self) {
        let served = within("the server to stop", self.served.join_next()).await;
        served.unwrap().unwrap().unwrap();
        self.generators.until_alive(0).await;
    }
}

/// An `EventSource` would never reconnect after a `503`.
#[tokio::test]
async fn response_that_has_not_begun_is_tried_again() {
    const EVENT_SOURCE: &str = "accept: text/event-stream\r\ncache-control: no-cache\r\n";

    let server = Plain::start(Duration::from_secs(1)).await;
    let mut clients = Vec::new();
    for headers in [EVENT_SOURCE, ""] {
        let mut client = Client::connect(server.addr).await;
        let request = format!("GET /preparing HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
        client.send(request.as_bytes()).await;
        clients.push(client);
    }
    server.generators.until_started(2).await;
    server.shutdown.begin();

    let [mut browser, mut program] = <[Client; 2]>::try_from(clients).ok().unwrap();
    assert_eq!(browser.head().await.status_line, "HTTP/1.1 200 OK");
    let frame = within("the frame", browser.rest()).await;
    assert!(frame.starts_with("event: close\nretry: "), "{frame}");
    assert!(
        frame.ends_with("data: {\"reason\":\"shutdown\"}\n\n"),
        "{frame}"
    );
    let head = program.head().await;
    assert_eq!(head.status_line, "HTTP/1.1 503 Service Unavailable");
    let after: u64 = head.get("retry-after").unwrap().parse().unwrap();
    assert!((1..10).contains(&after), "{after}");
    drop(program);
    server.ended().await;
}

#[tokio::test]
async fn streams_end_cleanly_at_different_times() {
    const CLIENTS: usize = 200;
    const DRAIN: Duration = Duration::from_secs(2);

    let server = Plain::start(DRAIN).await;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let mut client = Client::get(server.addr, "/quiet").await;
        clients.spawn(async move {
            client.head().await;
            let last = to_the_end(&mut client).await;
            (Instant::now(), retry(&last))
        });
    }
    server.generators.until_started(CLIENTS).await;
    assert!(!server.shutdown.has_begun());

    let start = Instant::now();
    server.shutdown.begin();
    let ends = within("the streams to end", clients.join_all()).await;
    server.ended().await;

    let moments: Vec<Duration> = ends.iter().map(|(at, _)| *at - start).collect();
    let (first, last) = (moments.iter().min().unwrap(), moments.iter().max().unwrap());
    assert!(
        *last - *first > DRAIN / 4,
        "the streams ended too close together, from {first:?} to {last:?}"
    );
    let retries: BTreeSet<u64> = ends.iter().map(|(_, retry)| *retry).collect();
    assert!(
        retries.len() > CLIENTS / 2,
        "the clients would reconnect at the same time: {retries:?}"
    );
    // Each `retry` is randomized around the ten seconds configured on the endpoint.
    assert!(
        retries.iter().all(|retry| (5_000..=15_000).contains(retry)),
        "{retries:?}"
    );
}

#[tokio::test]
async fn stream_with_on_shutdown_finish_finishes() {
    let server = Plain::start(Duration::from_secs(5)).await;
    let mut client = Client::post(server.addr, "/finite", 0, b"").await;
    client.head().await;
    assert_eq!(client.expect_chunk().await, "data: \"first\"\n\n");
    server.shutdown.begin();
    assert_eq!(client.expect_chunk().await, "data: \"last\"\n\n");
    assert_eq!(client.chunk().await, Ok(None));
    server.ended().await;
}

#[tokio::test]
async fn stream_that_never_finishes_ends_after_drain_time() {
    let server = Plain::start(Duration::from_millis(500)).await;
    let mut client = Client::get(server.addr, "/never").await;
    client.head().await;
    client.expect_chunk().await;
    let start = Instant::now();
    server.shutdown.begin();
    retry(&to_the_end(&mut client).await);
    assert!(start.elapsed() >= Duration::from_millis(500));
    server.ended().await;
}

#[tokio::test]
async fn generator_that_never_waits_is_drained() {
    let server = Plain::start(Duration::from_millis(100)).await;
    let mut client = Client::get(server.addr, "/hot").await;
    client.head().await;
    server.generators.until_started(1).await;
    server.shutdown.begin();
    retry(&to_the_end(&mut client).await);
    server.ended().await;
}

#[tokio::test]
async fn stream_started_during_shutdown_is_drained() {
    let server = Plain::start(Duration::from_millis(300)).await;
    // Only half of this client's request has arrived when the shutdown begins, so the server keeps
    // the connection open.
    let mut late = Client::connect(server.addr).await;
    late.send(b"GET /quiet HTTP/1.1\r\nhost: test\r\n").await;
    let mut early = Client::get(server.addr, "/quiet").await;
    early.head().await;
    server.shutdown.begin();
    retry(&to_the_end(&mut early).await);
    late.send(b"\r\n").await;
    // The server either responds to the request or closes the connection. In either case, the
    // server stops waiting for the connection.
    let _ = late.rest().await;
    server.ended().await;
}

/// After the server is dropped, its address can be bound again immediately.
#[tokio::test]
async fn dropped_server_frees_its_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let connecting = within("the server to accept", async {
        let mut client = Client::get(addr, "/nothing").await;
        client.head().await
    });
    tokio::select! {
        _ = server_of(Router::new()).serve(listener) => panic!("the server stopped unexpectedly"),
        head = connecting => assert!(head.status_line.contains("404")),
    }
    std::net::TcpListener::bind(addr).unwrap();
}
