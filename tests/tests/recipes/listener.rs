//! A listener that outlives the server, as `systemfd` provides it during development.

use axum::{Router, extract::State};
use sse_runtime::{Server, Shutdown, Stream, sse_endpoint};
use support::{Client, SseRouterExt as _, within};

#[sse_endpoint("/version")]
async fn version(State(version): State<u32>) -> impl Stream<Item = u32> {
    yield_!(version);
    std::future::pending::<()>().await;
}

/// Serves on a copy of the listener, as a process does that inherits the listener.
fn start(
    inherited: &std::net::TcpListener,
    number: u32,
) -> (Shutdown, tokio::task::JoinHandle<std::io::Result<()>>) {
    let listener = inherited.try_clone().unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let shutdown = Shutdown::within(std::time::Duration::ZERO);
    let server = Server::new(Router::new().sse(version).with_state(number))
        .shutdown(shutdown.clone())
        .serve(listener);
    (shutdown, tokio::spawn(server))
}

#[tokio::test]
async fn connection_waits_while_the_server_restarts() {
    let inherited = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = inherited.local_addr().unwrap();

    let (shutdown, first) = start(&inherited, 1);
    let mut client = Client::get(addr, "/version").await;
    client.head().await;
    assert_eq!(client.expect_chunk().await, "data: 1\n\n");
    shutdown.begin();
    let ended = within("the first server to stop", first).await;
    ended.unwrap().unwrap();

    // No process accepts connections at the moment, but the kernel does.
    let mut client = Client::get(addr, "/version").await;
    let (_shutdown, _second) = start(&inherited, 2);
    client.head().await;
    assert_eq!(client.expect_chunk().await, "data: 2\n\n");
}
