//! Generators that never wait, generators that panic, and ten thousand generators started in quick
//! succession.

use std::{net::SocketAddr, sync::mpsc, time::Duration};

use axum::{Router, extract::State};
use sse_runtime::{Stream, sse_endpoint};
use tokio::sync::watch;

use support::{Client, Count, CutOff, SseRouterExt as _, log::Log, serve, within};

use super::app;

#[test]
fn generator_that_never_waits_yields_to_other_tasks() {
    // Use a separate thread for the runtime. A generator that monopolizes the runtime then fails
    // the test instead of hanging it.
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (app, generators) = app();
            let addr = serve(app).await;
            let mut client = Client::get(addr, "/hot").await;
            client.head().await;
            generators.until_started(1).await;

            let other = tokio::spawn(async {
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
            });
            within("another task on the thread", other).await.unwrap();
            assert_eq!(generators.count().alive, 1);

            drop(client);
            generators.until_alive(0).await;
        });
        done.send(()).unwrap();
    });
    wait.recv_timeout(Duration::from_secs(20))
        .expect("the thread should finish instead of blocking or panicking");
}

#[tokio::test(flavor = "multi_thread")]
async fn generators_are_dropped_after_ten_thousand_clients() {
    const WAVE: usize = 200;
    const ALL: usize = 10_000;

    let (app, generators) = app();
    let addr = serve(app).await;
    for started in (WAVE..=ALL).step_by(WAVE) {
        let mut clients = tokio::task::JoinSet::new();
        for at in 0..WAVE {
            clients.spawn(disconnecting_client(addr, at));
        }
        let clients = clients.join_all().await;
        generators.until_started(started).await;
        // All clients of a wave disconnect at the same time, while the generators of the next wave
        // are starting.
        drop(clients);
    }
    generators.until_alive(0).await;
    assert_eq!(
        generators.count(),
        Count {
            started: ALL,
            alive: 0
        }
    );
}

/// Returns a client that, when dropped, disconnects in one of several ways.
async fn disconnecting_client(addr: SocketAddr, at: usize) -> Client {
    match at % 4 {
        0 => Client::get(addr, "/get").await,
        1 => {
            let mut client = Client::get(addr, "/get").await;
            client.head().await;
            client.expect_chunk().await;
            client
        }
        2 => Client::post(addr, "/unread", 10, b"01234").await,
        _ => Client::get(addr, "/get-before").await,
    }
}

#[sse_endpoint("/panics")]
async fn panics(State(events): State<watch::Receiver<u32>>) -> impl Stream<Item = u32> {
    let mut events = events;
    yield_!(0);
    events.changed().await.unwrap();
    panic!("on purpose");
}

#[sse_endpoint("/continues")]
async fn continues(State(events): State<watch::Receiver<u32>>) -> impl Stream<Item = u32> {
    let mut events = events;
    yield_!(0);
    while events.changed().await.is_ok() {
        let event = *events.borrow_and_update();
        yield_!(event);
    }
}

#[tokio::test]
async fn panic_cuts_off_only_its_own_stream() {
    // The server runs on this thread, so the server's log output is captured too.
    let log = Log::capture();
    let (events, receiver) = watch::channel(0);
    let app = Router::new()
        .sse(panics)
        .sse(continues)
        .with_state(receiver);
    let addr = serve(app).await;

    let mut panicked = Client::get(addr, "/panics").await;
    let mut other = Client::get(addr, "/continues").await;
    for client in [&mut panicked, &mut other] {
        client.head().await;
        assert_eq!(client.expect_chunk().await, "data: 0\n\n");
    }

    events.send(1).unwrap();
    // The last chunk is missing, so the client can tell that the stream did not end cleanly.
    assert_eq!(panicked.chunk().await, Err(CutOff));
    assert_eq!(other.expect_chunk().await, "data: 1\n\n");
    events.send(2).unwrap();
    assert_eq!(other.expect_chunk().await, "data: 2\n\n");

    let mut new = Client::get(addr, "/continues").await;
    assert_eq!(new.head().await.status_line, "HTTP/1.1 200 OK");
    assert_eq!(new.expect_chunk().await, "data: 0\n\n");

    let log = log.text();
    let line = log
        .lines()
        .find(|line| line.contains("ERROR"))
        .unwrap_or_default();
    assert!(
        line.contains(r#"endpoint="panics""#) && line.contains("panicked"),
        "{log:?}"
    );
}
