//! Measures the cost of publishing to a topic, the cost of replaying a topic, and the memory used
//! by a topic's idle streams. The publishing cost and the memory usage are compared with
//! `tokio::sync::broadcast` and axum's own `Sse`.

#![allow(
    missing_docs,
    reason = "criterion's macros generate undocumented functions"
)]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a benchmark panics if it cannot run"
)]
#![allow(clippy::print_stdout, reason = "criterion does not measure memory")]

use std::{
    alloc::System,
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use axum::{
    Router,
    body::{Body, HttpBody as _},
    extract::{Request, State},
    response::sse::{self, Sse},
    routing::get,
};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sse_runtime::{LastEventId, SseRouterExt as _, Start, Stream, Topic, sse_endpoint};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::sync::broadcast;
use tower_service::Service as _;

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

#[sse_endpoint("/ticks")]
async fn ticks(State(topic): State<Topic<Tick>>, last: LastEventId) -> impl Stream<Item = Tick> {
    yield_all!(topic.subscribe(last.or(Start::First)));
}

async fn by_hand(
    State(ticks): State<broadcast::Sender<Tick>>,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let mut ticks = ticks.subscribe();
    Sse::new(async_stream::stream! {
        while let Ok(tick) = ticks.recv().await {
            yield Ok(sse::Event::default().json_data(tick).expect("a plain struct"));
        }
    })
    .keep_alive(sse::KeepAlive::default())
}

async fn open(app: &mut Router) -> Body {
    let request = Request::get("/ticks").body(Body::empty()).expect("a path");
    let Ok(response) = app.call(request).await;
    response.into_body()
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
            _ => idle += 1,
        }
    }
    bytes
}

/// Publishes to subscribers that are waiting for an event.
fn publish(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut group = criterion.benchmark_group("publish");
    for subscribers in [0_usize, 1, 10_000] {
        let topic: Topic<Tick> = Topic::in_memory(16);
        let mut app = Router::new().sse(ticks).with_state(topic.clone());
        let mut bodies = runtime.block_on(async {
            let mut bodies = Vec::new();
            for _ in 0..subscribers {
                bodies.push(open(&mut app).await);
            }
            bodies
        });
        group.bench_function(BenchmarkId::new("topic", subscribers), |bencher| {
            bencher.iter_batched(
                || {
                    let _entered = runtime.enter();
                    for body in &mut bodies {
                        drain(body);
                    }
                },
                |()| topic.try_publish(&tick(1)).expect("an open topic"),
                BatchSize::PerIteration,
            );
        });

        let (sender, _receiver) = broadcast::channel(16);
        let by_hand = get(by_hand).with_state(sender.clone());
        let mut app = Router::new().route("/ticks", by_hand);
        let mut bodies = runtime.block_on(async {
            let mut bodies = Vec::new();
            for _ in 0..subscribers {
                bodies.push(open(&mut app).await);
            }
            bodies
        });
        group.bench_function(BenchmarkId::new("broadcast", subscribers), |bencher| {
            bencher.iter_batched(
                || {
                    let _entered = runtime.enter();
                    for body in &mut bodies {
                        drain(body);
                    }
                },
                |()| sender.send(tick(1)).is_ok(),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// Replays a topic, from the request to the last byte. There is no comparison, because `broadcast`
/// does not support replay.
fn replay(criterion: &mut Criterion) {
    const EVENTS: usize = 100_000;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let topic: Topic<Tick> = Topic::in_memory(EVENTS);
    for seq in 0..EVENTS {
        topic.try_publish(&tick(seq as u64)).expect("an open topic");
    }
    let finishing = topic.finish();
    runtime.block_on(finishing).expect("an in-memory topic");
    let app = Router::new().sse(ticks).with_state(topic);
    let mut group = criterion.benchmark_group("replay");
    group.throughput(Throughput::Elements(EVENTS as u64));
    group.sample_size(10);
    group.bench_function("100,000 events", |bencher| {
        bencher.to_async(&runtime).iter(|| {
            let mut app = app.clone();
            async move {
                let mut body = open(&mut app).await;
                let mut bytes = 0;
                while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                    bytes += frame
                        .expect("a frame")
                        .data_ref()
                        .map_or(0, axum::body::Bytes::len);
                }
                bytes
            }
        });
    });
    group.finish();
}

/// Measures the memory of an idle stream, excluding its socket.
fn memory(_: &mut Criterion) {
    const STREAMS: usize = 1_000;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let topic: Topic<Tick> = Topic::in_memory(16);
    let (sender, _receiver) = broadcast::channel::<Tick>(16);
    let ours = Router::new().sse(ticks).with_state(topic.clone());
    let theirs = Router::new().route("/ticks", get(by_hand).with_state(sender));
    for (name, mut app) in [("topic", ours), ("broadcast", theirs)] {
        let _entered = runtime.enter();
        let mut bodies = Vec::with_capacity(STREAMS);
        let region = Region::new(ALLOCATOR);
        for _ in 0..STREAMS {
            let mut body = runtime.block_on(open(&mut app));
            drain(&mut body);
            bodies.push(body);
        }
        let change = region.change();
        let held = change.bytes_allocated - change.bytes_deallocated;
        println!(
            "memory/{name}: {} bytes per idle stream, excluding its socket",
            held / STREAMS
        );
    }
}

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

criterion_group!(benches, publish, replay, memory);
criterion_main!(benches);
