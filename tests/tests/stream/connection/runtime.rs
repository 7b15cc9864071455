//! Streams that are dropped outside a runtime or while their runtime is shutting down.

use std::{future::pending, net::SocketAddr, time::Duration};

use axum::{Router, routing::get};
use sse_runtime::{CloseReason, Connection, Stream, sse_endpoint, testing};
use support::{Client, SseRouterExt as _, serve};

use super::{Told, waits};

/// A value whose destructor uses the connection.
struct SpawnsOnDrop(Connection);

impl Drop for SpawnsOnDrop {
    fn drop(&mut self) {
        self.0.spawn(async {});
        self.0.on_close(|_| async {});
    }
}

#[test]
fn runtime_shutdown_mid_stream_does_not_deadlock() {
    #[sse_endpoint("/spawns")]
    async fn spawns(connection: Connection) -> impl Stream<Item = u32> {
        loop {
            let spawner = SpawnsOnDrop(connection.clone());
            connection.spawn(async move {
                let _spawner = spawner;
                pending::<()>().await;
            });
            yield_!(1);
        }
    }
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for _ in 0..5 {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            for _ in 0..4 {
                runtime.spawn(async {
                    let client = testing::Client::new(Router::new().sse(spawns));
                    let mut events = client.get("/spawns").await.events();
                    loop {
                        events.expect_event().await;
                    }
                });
            }
            runtime.block_on(async { tokio::time::sleep(Duration::from_millis(20)).await });
            drop(runtime);
        }
        done.send(()).unwrap();
    });
    ended
        .recv_timeout(Duration::from_secs(30))
        .expect("the runtimes should shut down");
}

#[test]
fn body_dropped_outside_a_runtime_does_not_panic() {
    let (told, mut reasons) = Told::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let events = runtime.block_on(async {
        let client = testing::Client::new(Router::new().sse(waits).with_state(told.clone()));
        let mut events = client.get("/waits").await.events();
        events.expect_event().await;
        events
    });
    drop(events);
    // The hook cannot run until the runtime that handled the request runs again.
    let (_, reason, _) = runtime.block_on(reasons.recv()).unwrap();
    assert_eq!(reason, CloseReason::ClientGone);

    let events = runtime.block_on(async {
        let client = testing::Client::new(Router::new().sse(waits).with_state(told.clone()));
        let mut events = client.get("/waits").await.events();
        events.expect_event().await;
        events
    });
    drop(runtime);
    drop(events);
    assert_eq!(told.tasks.count().alive, 0);
    assert_eq!(told.generators.count().alive, 0);
}

#[tokio::test]
async fn connection_is_available_only_in_endpoints() {
    #[sse_endpoint("/peer")]
    async fn peer(connection: Connection) -> impl Stream<Item = Option<SocketAddr>> {
        yield_!(connection.peer());
    }
    let plain = get(|connection: Connection| async move { connection.id().to_string() });
    let addr = serve(Router::new().sse(peer).route("/plain", plain)).await;
    let mut client = Client::get(addr, "/peer").await;
    client.head().await;
    assert!(
        client
            .expect_chunk()
            .await
            .starts_with("data: \"127.0.0.1:")
    );
    let head = Client::get(addr, "/plain").await.head().await;
    assert_eq!(head.status_line, "HTTP/1.1 500 Internal Server Error");
}
