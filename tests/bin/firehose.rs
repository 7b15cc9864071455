//! A server that runs in a separate process so that tests can measure its memory. Some of the
//! server's streams never pause. Usage: `firehose SEND_TIMEOUT_MS [CERT KEY]`.
#![allow(
    clippy::print_stdout,
    reason = "the test reads the address from stdout"
)]

use std::{env, future::pending, io, time::Duration};

use axum::{Router, extract::State};
use sse_runtime::{Server, Start, Stream, Topic, sse_endpoint};
use support::SseRouterExt as _;

#[sse_endpoint("/each", flush = "each")]
async fn each() -> impl Stream<Item = u32> {
    loop {
        yield_!(1);
    }
}

#[sse_endpoint("/ready", flush = "ready")]
async fn ready() -> impl Stream<Item = u32> {
    loop {
        yield_!(1);
    }
}

/// Yields 100 events per second. Every client receives the same events.
#[sse_endpoint("/topic")]
async fn topic(State(topic): State<Topic<u64>>) -> impl Stream<Item = u64> {
    yield_all!(topic.subscribe(Start::Now));
}

#[sse_endpoint("/quiet")]
async fn quiet() -> impl Stream<Item = u32> {
    yield_!(1);
    pending::<()>().await;
}

async fn publish(topic: Topic<u64>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    for number in 0.. {
        ticks.tick().await;
        let _ = topic.publish(&number).await;
    }
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let send_timeout = arguments.first().and_then(|millis| millis.parse().ok());
    let send_timeout = send_timeout
        .map(Duration::from_millis)
        .ok_or_else(|| io::Error::other("usage: firehose SEND_TIMEOUT_MS [CERT KEY]"))?;
    let events = Topic::in_memory(1024);
    tokio::spawn(publish(events.clone()));
    let app = Router::new()
        .sse(each)
        .sse(ready)
        .sse(topic)
        .sse(quiet)
        .with_state(events);
    let mut server = Server::new(app).send_timeout(send_timeout);
    if let [_, cert, key] = &arguments[..] {
        server = server.tls(cert, key);
    }
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    let listener = socket.listen(4096)?;
    println!("{}", listener.local_addr()?);
    server.serve(listener).await
}
