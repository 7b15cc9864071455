//! Measures the cost of encoding a burst of values as events, from the request to the last frame.
//! No sockets are involved.

#![allow(
    missing_docs,
    reason = "criterion's macros generate undocumented functions"
)]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a benchmark panics if it cannot run"
)]

use std::{convert::Infallible, future::poll_fn, pin::Pin};

use axum::{
    Router,
    body::{Body, HttpBody as _},
    extract::Request,
    response::sse::{self, Sse},
    routing::get,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sse_runtime::{SseRouterExt as _, Stream, sse_endpoint};
use tower_service::Service as _;

const EVENTS: u64 = 10_000;

#[derive(serde::Serialize)]
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

#[sse_endpoint("/each")]
async fn each() -> impl Stream<Item = Tick> {
    for seq in 0..EVENTS {
        yield_!(tick(seq));
    }
}

#[sse_endpoint("/ready", flush = "ready")]
async fn ready() -> impl Stream<Item = Tick> {
    for seq in 0..EVENTS {
        yield_!(tick(seq));
    }
}

async fn by_hand() -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    Sse::new(async_stream::stream! {
        for seq in 0..EVENTS {
            yield Ok(sse::Event::default().json_data(tick(seq)).expect("a plain struct"));
        }
    })
    .keep_alive(sse::KeepAlive::default())
}

/// Reads a whole stream and returns its length in bytes.
async fn read(mut app: Router, path: &str) -> usize {
    let request = Request::get(path).body(Body::empty()).expect("a path");
    let Ok(response) = app.call(request).await;
    let mut body = response.into_body();
    let mut bytes = 0;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        bytes += frame
            .expect("a frame")
            .data_ref()
            .map_or(0, axum::body::Bytes::len);
    }
    bytes
}

fn burst(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let app = Router::new()
        .sse(each)
        .sse(ready)
        .route("/by-hand", get(by_hand));
    let size = runtime.block_on(read(app.clone(), "/by-hand"));
    let mut group = criterion.benchmark_group("burst");
    group.throughput(Throughput::Elements(EVENTS));
    for path in ["/by-hand", "/each", "/ready"] {
        // The comparison is fair only if all of the endpoints send equally long streams, so check
        // their lengths.
        assert_eq!(runtime.block_on(read(app.clone(), path)), size);
        group.bench_function(path, |bencher| {
            bencher.to_async(&runtime).iter(|| read(app.clone(), path));
        });
    }
    group.finish();
}

criterion_group!(benches, burst);
criterion_main!(benches);
