//! A server built with this project as a user would build one. The server calls `serve`, or
//! `axum::serve` if the `plain` argument is given.

use std::time::Duration;

use axum::{
    Router,
    extract::{FromRef, Query, State},
    routing::get,
};
use peer::{Burst, Open, Rate, Tick};
use sse_runtime::{SseRouterExt as _, Start, Stream, Topic, sse_endpoint};
use tokio::net::TcpListener;

/// The number of events in the topic that a burst replays.
const HELD: u64 = 10_000;

#[derive(Clone, FromRef)]
struct Topics {
    live: Topic<Tick>,
    held: Held,
}

/// A topic that `/burst-topic` replays repeatedly.
#[derive(Clone)]
struct Held(Topic<Tick>);

#[sse_endpoint("/burst", flush = "ready")]
async fn burst(Query(burst): Query<Burst>) -> impl Stream<Item = Tick> {
    let _open = Open::new();
    for seq in 0..burst.n {
        yield_!(Tick::new(seq));
    }
}

#[sse_endpoint("/burst-each")]
async fn burst_each(Query(burst): Query<Burst>) -> impl Stream<Item = Tick> {
    let _open = Open::new();
    for seq in 0..burst.n {
        yield_!(Tick::new(seq));
    }
}

#[sse_endpoint("/burst-topic")]
async fn burst_topic(
    Query(burst): Query<Burst>,
    State(Held(held)): State<Held>,
) -> impl Stream<Item = Tick> {
    let _open = Open::new();
    for _ in 0..burst.n / HELD {
        yield_all!(held.subscribe(Start::First));
    }
}

#[sse_endpoint("/first")]
async fn first() -> impl Stream<Item = Tick> {
    let _open = Open::new();
    yield_!(Tick::new(0));
    std::future::pending::<()>().await;
}

#[sse_endpoint("/fanout")]
async fn fan_out(State(live): State<Topic<Tick>>) -> impl Stream<Item = Tick> {
    let _open = Open::new();
    yield_all!(live.subscribe(Start::Now));
}

#[sse_endpoint("/tick")]
async fn tick() -> impl Stream<Item = Tick> {
    let _open = Open::new();
    let mut every = tokio::time::interval(Duration::from_secs(1));
    for seq in 0.. {
        every.tick().await;
        yield_!(Tick::new(seq));
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let topics = Topics {
        live: Topic::in_memory(1024),
        held: Held(Topic::in_memory(10_000)),
    };
    for seq in 0..HELD {
        let published = topics.held.0.try_publish(&Tick::new(seq));
        published.expect("an open topic");
    }
    // Finish the topic, because a stream that replays an unfinished topic waits for more events
    // instead of ending.
    topics.held.0.finish().await.expect("an in-memory topic");
    let live = topics.live.clone();
    tokio::spawn(peer::publish(move |seq| {
        live.try_publish(&Tick::new(seq)).expect("an open topic");
    }));
    let rate = |Query(rate): Query<Rate>| async move { peer::set_rate(&rate) };
    let app = Router::new()
        .sse(burst)
        .sse(burst_each)
        .sse(burst_topic)
        .sse(first)
        .sse(fan_out)
        .sse(tick)
        .route("/rate", get(rate))
        .route("/stats", get(async || peer::stats()))
        .with_state(topics);
    let listener = TcpListener::bind(("127.0.0.1", peer::port())).await?;
    if peer::has_flag("plain") {
        // Given the router itself, `axum::serve` copies all routes for each connection, which costs
        // memory. The servers do not have the same number of routes.
        axum::serve(listener, app.into_make_service()).await
    } else {
        sse_runtime::serve(listener, app).await
    }
}
