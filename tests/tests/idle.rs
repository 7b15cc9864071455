//! The heap memory used by an idle stream.
#![allow(
    clippy::unwrap_used,
    reason = "in tests, `unwrap` doubles as an assertion"
)]

use std::{
    alloc::System,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use axum::{Router, extract::State};
use cap::Cap;
use sse_runtime::{Server, Start, Stream, Topic, sse_endpoint};
use support::SseRouterExt as _;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const STREAMS: usize = 200;

#[sse_endpoint("/topic")]
async fn of_topic(State(topic): State<Topic<u32>>) -> impl Stream<Item = u32> {
    let mut updates = topic.subscribe(Start::Latest(1));
    while let Some(update) = updates.next().await {
        yield_!(update);
    }
}

/// Returns a client that has received the first event. The client itself does not allocate on the
/// heap, so it does not distort the measurement.
fn open(addr: SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(addr).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(15)))
        .unwrap();
    let request = b"GET /topic HTTP/1.1\r\nhost: test\r\n\r\n";
    socket.write_all(request).unwrap();
    let mut received = [0; 1024];
    let mut len = 0;
    while !received[..len].ends_with(b"data: 1\n\n\r\n") {
        let read = socket.read(&mut received[len..]).unwrap();
        assert!(read > 0, "the stream ended early");
        len += read;
    }
    socket
}

/// Under hyper, a connection costs 16 KiB.
#[tokio::test(flavor = "multi_thread")]
async fn quiet_stream_costs_less_than_under_hyper() {
    let topic = Topic::in_memory(1);
    topic.publish(&1).await.unwrap();
    let app = Router::new().sse(of_topic).with_state(topic.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(Server::new(app).serve(listener));
    let mut clients = Vec::with_capacity(2 * STREAMS);
    // The first clients trigger one-time allocations and make shared collections grow, which would
    // distort the measurement.
    clients.extend((0..STREAMS).map(|_| open(addr)));
    let before = ALLOCATOR.allocated();
    clients.extend((0..STREAMS).map(|_| open(addr)));
    let each = (ALLOCATOR.allocated() - before) / STREAMS;
    assert_eq!(topic.subscribers(), 2 * STREAMS);
    assert!(each < 4 * 1024, "{each} bytes per stream");
}
