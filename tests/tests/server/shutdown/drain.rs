//! How streams end while the server drains.

use std::{
    collections::BTreeSet,
    future::pending,
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::{Router, extract::State};
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
