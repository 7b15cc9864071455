//! Stalled HTTP/1 clients.

use std::{
    fs, io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::{Router, extract::State};
use sse_runtime::{CloseReason, Connection, Stream, Text, sse_endpoint};
use support::{Client, SseRouterExt as _, serve_as, server_of, within};
use tokio::{io::AsyncReadExt as _, time::sleep};

use super::{EVENT, NEVER, SEND_TIMEOUT, Told, assert_stalled, next, server};

/// Reads until the connection ends. Returns the number of bytes read and the result of the last
/// read.
async fn read_left(client: Client) -> (usize, io::Result<()>) {
    let (mut socket, received) = client.into_parts();
    let mut len = received.len();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match within(
            "the server to close the connection",
            socket.read(&mut chunk),
        )
        .await
        {
            Ok(0) => return (len, Ok(())),
            Ok(more) => len += more,
            Err(error) => return (len, Err(error)),
        }
    }
}

/// Returns whether the kernel still has a socket, in any state, for the server's end of a
/// connection.
fn is_known(server: SocketAddr, client: SocketAddr) -> bool {
    let port = |text: &str| {
        let (_, port) = text.split_once(':')?;
        u16::from_str_radix(port, 16).ok()
    };
    let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
    sockets.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, peer) = (fields.next().and_then(port), fields.next().and_then(port));
        local == Some(server.port()) && peer == Some(client.port())
    })
}

/// Asserts that the server disconnects a client that does not read, and that the kernel drops the
/// connection immediately.
async fn stall(path: &'static str) {
    let (server, _told, mut reasons) = server();
    let addr = serve_as(server).await;
    let mut client = Client::connect_narrow(addr).await;
    client
        .send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes())
        .await;
    let closed = next(&mut reasons).await;
    assert_stalled(&closed);
    assert_eq!(closed.path, path);
    assert_eq!(closed.alive, 0, "the generator was still alive: {closed:?}");
    if path != "/huge" {
        // The data fills the kernel's buffers but almost none of the server's own buffers.
        assert!(closed.yielded < 1024 * 1024, "{closed:?}");
    }

    let (socket, received) = client.into_parts();
    let local = socket.local_addr().unwrap();
    let mut client = Client::over(socket);
    assert_eq!(received, b"");
    let head = client.head().await;
    assert_eq!(head.status_line, "HTTP/1.1 200 OK");
    let (left, end) = read_left(client).await;
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    // Unsent data is dropped. Only the data in the client's kernel can still be read.
    assert!(left < 256 * 1024, "{left} bytes were still sent");
    assert!(
        !is_known(addr, local),
        "the kernel still has the connection"
    );
}

#[tokio::test]
async fn client_that_stops_reading_is_disconnected() {
    tokio::join!(stall("/each"), stall("/ready"), stall("/huge"));
}

/// Yields small events, each of which is sent separately.
#[sse_endpoint("/drips", flush = "ready", max_duration = "1s", keep_alive = "off")]
async fn drips(
    connection: Connection,
    State(told): State<Told>,
) -> impl Stream<Item = Text<String>> {
    let _meter = told.watch(&connection, "/drips");
    let _running = told.generators.enter();
    loop {
        tokio::task::yield_now().await;
        yield_!(Text("x".repeat(EVENT)));
    }
}

/// Like `drips`, but closed by `close_when`.
#[sse_endpoint("/drips-until", flush = "ready", keep_alive = "off")]
async fn drips_until(
    connection: Connection,
    State(told): State<Told>,
) -> impl Stream<Item = Text<String>> {
    let _meter = told.watch(&connection, "/drips-until");
    let _running = told.generators.enter();
    connection.close_when(sleep(Duration::from_secs(1)));
    loop {
        tokio::task::yield_now().await;
        yield_!(Text("x".repeat(EVENT)));
    }
}

/// A client cannot keep its stream open past the deadline by not reading the stream.
#[tokio::test]
async fn stalled_stream_ends_at_its_deadline() {
    let (told, mut reasons) = Told::new();
    let app = Router::new()
        .sse(drips)
        .sse(drips_until)
        .with_state(told.clone());
    let server = server_of(app).send_timeout(NEVER).tcp_user_timeout(NEVER);
    let addr = serve_as(server).await;
    for (path, reason) in [
        ("/drips", CloseReason::MaxDuration),
        ("/drips-until", CloseReason::Revoked),
    ] {
        let mut client = Client::connect_narrow(addr).await;
        client
            .send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes())
            .await;
        let closed = next(&mut reasons).await;
        assert_eq!((closed.path, closed.reason), (path, reason));
        assert_eq!(closed.alive, 0, "the generator was still alive: {closed:?}");
    }
}

/// The client reads for longer than the limit but never pauses for that long. The kernel's buffers
/// must not hide this progress.
#[tokio::test]
async fn slow_client_is_not_stalled() {
    let (server, _told, mut reasons) = server();
    let addr = serve_as(server).await;
    // This client's socket has the default buffer sizes.
    let (mut socket, _) = Client::get(addr, "/each").await.into_parts();
    let start = Instant::now();
    let (mut len, mut chunk) = (0, vec![0; 16 * 1024]);
    while start.elapsed() < SEND_TIMEOUT * 3 {
        len += within("the server to write", socket.read(&mut chunk))
            .await
            .unwrap();
        // Read 16 KiB every 50 ms.
        let due = Duration::from_micros(len as u64 * 50_000 / (16 * 1024));
        sleep(due.saturating_sub(start.elapsed())).await;
    }
    drop(socket);
    let closed = next(&mut reasons).await;
    assert_eq!(closed.reason, CloseReason::ClientGone, "{closed:?}");
    // The client has kept up with the generator.
    assert!(closed.yielded - len < 1024 * 1024, "{closed:?}");
}

/// If a client's receive buffer is full for too long, the server's kernel also drops the
/// connection, as if the client had vanished. The close reason must still be `Stalled`.
#[tokio::test]
async fn client_that_stops_reading_is_stalled_not_gone() {
    let (server, _told, mut reasons) = server();
    // Both timeouts have the same value.
    let addr = serve_as(server.tcp_user_timeout(SEND_TIMEOUT)).await;
    let _client = Client::get(addr, "/each").await;
    let closed = next(&mut reasons).await;
    assert_eq!(closed.reason, CloseReason::Stalled, "{closed:?}");
}
