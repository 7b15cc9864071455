//! Clients that disconnect.

use std::{future::pending, io::Read as _};

use axum::{Router, extract::State};
use sse_runtime::{Stream, sse_endpoint};
use tokio::io::AsyncWriteExt as _;

use support::{Client, Generators, SseRouterExt as _, soon};

use super::serve;

#[sse_endpoint("/silent", keep_alive = "off")]
async fn silent(State(generators): State<Generators>) -> impl Stream<Item = u32> {
    let _running = generators.enter();
    yield_!(1);
    pending::<()>().await;
}

/// The stream writes nothing, so a failed write cannot reveal the disconnect.
#[tokio::test]
async fn disconnect_is_noticed_despite_unread_bytes() {
    let generators = Generators::new();
    let app = Router::new().sse(silent).with_state(generators.clone());
    let addr = serve(app).await;
    for sent in [1_000_000, 9_000_000] {
        let mut client = Client::get(addr, "/silent").await;
        client.head().await;
        assert_eq!(client.expect_chunk().await, "data: 1\n\n");
        let (mut socket, _) = client.into_parts();
        // If the client sends more bytes than the server is willing to hold during a stream, the
        // server cuts the stream off.
        let was_cut_off = socket.write_all(&vec![b'x'; sent]).await.is_err();
        assert!(sent > 1_000_000 || !was_cut_off);
        if sent == 1_000_000 {
            assert_eq!(generators.count().alive, 1);
            drop(socket);
        }
        generators.until_alive(0).await;
    }
}

/// Closing a socket takes time, and a generator may hold resources that other tasks are waiting
/// for, so the server drops the generator before closing the socket.
#[tokio::test]
async fn generators_drop_before_sockets_on_mass_disconnect() {
    const MANY: usize = 100;
    let generators = Generators::new();
    let addr = serve(Router::new().sse(silent).with_state(generators.clone())).await;
    let mut clients = Vec::new();
    for _ in 0..MANY {
        let mut client = Client::get(addr, "/silent").await;
        client.head().await;
        client.expect_chunk().await;
        let socket = client.into_parts().0.into_std().unwrap();
        socket.set_nonblocking(false).unwrap();
        clients.push(socket);
    }
    generators.until_started(MANY).await;

    // The server runs on this thread, so it cannot notice a disconnect until every client has
    // disconnected.
    for client in &clients {
        client.shutdown(std::net::Shutdown::Write).unwrap();
    }
    let closed = clients.into_iter().map(|mut client| {
        let generators = generators.clone();
        tokio::task::spawn_blocking(move || {
            let rest = client.read(&mut [0; 64]).unwrap();
            (rest, generators.count().alive)
        })
    });
    let closed: Vec<_> = closed.collect();
    for closed in closed {
        assert_eq!(soon("the socket to close", closed).await.unwrap(), (0, 0));
    }
}
