//! Counts the instructions executed in the hot paths. Unlike timings, these counts hardly vary
//! between runs. `cargo xtask guard` compares them with `guard.json`.

#![allow(
    missing_docs,
    unused_qualifications,
    reason = "gungraun's macros generate undocumented functions"
)]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a benchmark panics if it cannot run"
)]

use std::{
    hint::black_box,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use axum::{
    Router,
    body::{Body, HttpBody as _},
    extract::{Request, State},
};
use gungraun::{library_benchmark, library_benchmark_group, main};
use sse_runtime::{SseRouterExt as _, Start, Stream, Topic, sse_endpoint};
use tokio::runtime::Runtime;
use tower_service::Service as _;

/// The number of events per stream. This number is high enough to make the cost of opening a stream
/// negligible.
const EVENTS: u64 = 1_000;

#[derive(Clone, serde::Serialize)]
struct Tick {
    seq: u64,
    symbol: &'static str,
    price: f64,
}

fn tick(seq: u64) -> Tick {
    Tick {
        seq,
        symbol: "ACME",
        price: 101.25,
    }
}

// Each generator first yields to the runtime. The response head is therefore ready before the
// generator does any of the work that is measured.
#[sse_endpoint("/each")]
async fn each() -> impl Stream<Item = Tick> {
    tokio::task::yield_now().await;
    for seq in 0..EVENTS {
        yield_!(tick(seq));
    }
}

#[sse_endpoint("/ready", flush = "ready")]
async fn ready() -> impl Stream<Item = Tick> {
    tokio::task::yield_now().await;
    for seq in 0..EVENTS {
        yield_!(tick(seq));
    }
}

#[sse_endpoint("/topic")]
async fn topic(State(topic): State<Topic<Tick>>) -> impl Stream<Item = Tick> {
    tokio::task::yield_now().await;
    yield_all!(topic.subscribe(Start::First));
}

/// The input of a benchmark.
struct Bench {
    runtime: Runtime,
    topic: Topic<Tick>,
    bodies: Vec<Body>,
}

fn open(path: &str, streams: usize, held: u64) -> Bench {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let ticks = Topic::in_memory(2_000);
    for seq in 0..held {
        ticks.try_publish(&tick(seq)).expect("an open topic");
    }
    let mut app = Router::new()
        .sse(each)
        .sse(ready)
        .sse(topic)
        .with_state(ticks.clone());
    let mut bodies = runtime.block_on(async {
        let mut bodies = Vec::new();
        for _ in 0..streams {
            let request = Request::get(path).body(Body::empty()).expect("a path");
            let Ok(response) = app.call(request).await;
            bodies.push(response.into_body());
        }
        bodies
    });
    if held == 0 && path == "/topic" {
        // Poll each body until it waits for the topic, so that every stream has subscribed before
        // the measurement starts.
        let _entered = runtime.enter();
        for body in &mut bodies {
            assert_eq!(drain(body), 0);
        }
    }
    Bench {
        runtime,
        topic: ticks,
        bodies,
    }
}

/// Reads all available frames. Returns their length in bytes.
fn drain(body: &mut Body) -> usize {
    let mut cx = Context::from_waker(Waker::noop());
    let (mut bytes, mut idle) = (0, 0);
    // After a frame, a body may return `Pending` once to let other tasks run, even if more frames
    // are available. Only a second `Pending` in a row means that all frames have been read.
    while idle < 2 {
        match Pin::new(&mut *body).poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(frame))) => {
                bytes += frame.data_ref().map_or(0, axum::body::Bytes::len);
                idle = 0;
            }
            Poll::Ready(_) => break,
            Poll::Pending => idle += 1,
        }
    }
    bytes
}

fn read(mut bench: Bench) -> Bench {
    let entered = bench.runtime.enter();
    let bytes: usize = bench.bodies.iter_mut().map(drain).sum();
    assert!(bytes > 40_000, "{bytes} bytes");
    drop(entered);
    bench
}

// Sends `EVENTS` structs through `yield_!` and serde, with many events per frame.
#[library_benchmark]
#[bench::ready(open("/ready", 1, 0))]
fn encode(bench: Bench) -> Bench {
    read(black_box(bench))
}

// Like `encode`, but with one event per frame, which adds the cost of polling the body for every
// event.
#[library_benchmark]
#[bench::each(open("/each", 1, 0))]
fn poll(bench: Bench) -> Bench {
    read(black_box(bench))
}

// Replays `EVENTS` events that the topic already holds.
#[library_benchmark]
#[bench::held(open("/topic", 1, EVENTS))]
fn replay(bench: Bench) -> Bench {
    read(black_box(bench))
}

// The first benchmark publishes `EVENTS` events without subscribers. The second publishes one event
// to a thousand waiting subscribers.
#[library_benchmark]
#[bench::without_subscribers(open("/topic", 0, 0), EVENTS)]
#[bench::to_a_thousand(open("/topic", 1_000, 0), 1)]
fn publish(bench: Bench, events: u64) -> Bench {
    let bench = black_box(bench);
    for seq in 0..events {
        let published = bench.topic.try_publish(&tick(seq));
        published.expect("an open topic");
    }
    bench
}

// Delivers one event to a thousand subscribers. Polls each body once for the frame, and once more
// to check that it is pending.
#[library_benchmark]
#[bench::thousand(published())]
fn deliver(bench: Bench) -> Bench {
    let mut bench = black_box(bench);
    let entered = bench.runtime.enter();
    let mut cx = Context::from_waker(Waker::noop());
    for body in &mut bench.bodies {
        let frame = Pin::new(&mut *body).poll_frame(&mut cx);
        assert!(
            matches!(frame, Poll::Ready(Some(Ok(_)))),
            "expected a frame"
        );
        assert!(
            Pin::new(body).poll_frame(&mut cx).is_pending(),
            "expected no further frame"
        );
    }
    drop(entered);
    bench
}

fn published() -> Bench {
    let bench = open("/topic", 1_000, 0);
    bench.topic.try_publish(&tick(1)).expect("an open topic");
    bench
}

library_benchmark_group!(
    name = guard,
    benchmarks = [encode, poll, replay, publish, deliver]
);
main!(library_benchmark_groups = guard);
