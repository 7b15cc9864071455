//! HTTP/1.

use std::{
    fs, io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::{Router, extract::State};
use sse_runtime::{CloseReason, Connection, RouterExt as _, Stream, Text, sse_endpoint};
use support::{Client, serve_as, server_of, within};
use tokio::{io::AsyncReadExt as _, time::sleep};

use super::{EVENT, NEVER, SEND_TIMEOUT, Told, assert_stalled, next, server};

/// Reads what is left up to the end of the connection, and how that came.
async fn read_left(client: Client) -> (usize, io::Result<()>) {
    let (mut socket, received) = client.into_parts();
    let mut len = received.len();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match within("the server to end it", socket.read(&mut chunk)).await {
            Ok(0) => return (len, Ok(())),
            Ok(more) => len += more,
            Err(error) => return (len, Err(error)),
        }
    }
}

/// Whether the system still knows the server's side of a connection, in whatever state.
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

/// That a client that reads nothing is given up, and that the system forgets it at once.
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
    assert_eq!(closed.alive, 0, "the generator was there: {closed:?}");
    if path != "/huge" {
        // The systems' buffers, and next to nothing of our own.
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
    // What the server's system had not sent is forgotten: what the client's had taken is left.
    assert!(left < 256 * 1024, "{left} bytes were still sent");
    assert!(!is_known(addr, local), "the system keeps the connection");
}

#[tokio::test]
async fn client_that_stops_reading_is_disconnected() {
    tokio::join!(stall("/each"), stall("/ready"), stall("/huge"));
}

/// Small events, each of which goes out by itself.
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

/// The same, for who logs out.
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

/// Whoever may not stay does not stay longer by not reading.
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
        assert_eq!(closed.alive, 0, "the generator was there: {closed:?}");
    }
}

/// Longer in all than the limit, and never as long without a byte: what the system holds back for it must not hide that.
#[tokio::test]
async fn slow_client_is_not_stalled() {
    let (server, _told, mut reasons) = server();
    let addr = serve_as(server).await;
    // With the buffers that a system has by itself.
    let (mut socket, _) = Client::get(addr, "/each").await.into_parts();
    let start = Instant::now();
    let (mut len, mut chunk) = (0, vec![0; 16 * 1024]);
    while start.elapsed() < SEND_TIMEOUT * 3 {
        len += within("the server to write", socket.read(&mut chunk))
            .await
            .unwrap();
        // 16 KiB each 50 ms.
        let due = Duration::from_micros(len as u64 * 50_000 / (16 * 1024));
        sleep(due.saturating_sub(start.elapsed())).await;
    }
    drop(socket);
    let closed = next(&mut reasons).await;
    assert_eq!(closed.reason, CloseReason::ClientGone, "{closed:?}");
    // And what it got was not old.
    assert!(closed.yielded - len < 1024 * 1024, "{closed:?}");
}

/// The system gives up a client that has no room for too long, as one that has vanished; that is not what it is.
#[tokio::test]
async fn client_that_stops_reading_is_stalled_not_gone() {
    let (server, _told, mut reasons) = server();
    // Both limits are the same by default.
    let addr = serve_as(server.tcp_user_timeout(SEND_TIMEOUT)).await;
    let _client = Client::get(addr, "/each").await;
    let closed = next(&mut reasons).await;
    assert_eq!(closed.reason, CloseReason::Stalled, "{closed:?}");
}
