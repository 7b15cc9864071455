//! Counts allocations per stream and measures the memory that a waiting stream holds.
#![allow(
    clippy::unwrap_used,
    reason = "in tests, `unwrap` doubles as an assertion"
)]

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use allocation_counter::{AllocationInfo, measure};
use axum::{
    Router,
    body::{Body, Bytes, HttpBody as _},
    extract::{Request, State},
};
use sse_runtime::{Start, Stream, Topic, sse_endpoint, topic::PresenceRooms};
use support::SseRouterExt as _;
use tokio::{runtime::Runtime, time::sleep};
use tokio_util::sync::CancellationToken;
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
async fn ticks() -> impl Stream<Item = Tick> {
    for seq in 0.. {
        yield_!(tick(seq));
    }
}

#[sse_endpoint("/quiet")]
async fn quiet() -> impl Stream<Item = Tick> {
    std::future::pending::<()>().await;
    yield_!(tick(0));
}

#[sse_endpoint("/topic")]
async fn topic(State(topic): State<Topic<Tick>>) -> impl Stream<Item = Tick> {
    yield_all!(topic.subscribe(Start::Now));
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

fn app(topic_of: &Topic<Tick>) -> Router {
    Router::new()
        .sse(ticks)
        .sse(quiet)
        .sse(topic)
        .with_state(topic_of.clone())
}

fn open(runtime: &Runtime, app: &mut Router, path: &str) -> Body {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let Ok(response) = runtime.block_on(app.call(request));
    response.into_body()
}

/// Returns the next frame of the body, if one is ready.
fn next(body: &mut Body) -> Option<Bytes> {
    let mut cx = Context::from_waker(Waker::noop());
    // After a frame, the body may return `Pending` once to let other tasks run.
    for _ in 0..2 {
        if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(&mut cx) {
            return frame.unwrap().unwrap().into_data().ok();
        }
    }
    None
}

#[test]
fn yielding_a_small_struct_does_not_allocate() {
    let runtime = runtime();
    let mut app = app(&Topic::in_memory(1));
    let mut body = open(&runtime, &mut app, "/ticks");
    let _entered = runtime.enter();
    for _ in 0..100 {
        next(&mut body).unwrap();
    }
    let allocated = measure(|| {
        for _ in 0..1_000 {
            assert!(next(&mut body).unwrap().starts_with(b"data: {"));
        }
    });
    assert_eq!(allocated.count_total, 0);
}

#[test]
fn publish_allocates_the_same_for_any_reader_count() {
    let runtime = runtime();
    let publish_to = |subscribers: usize| {
        let topic = Topic::in_memory(16);
        let mut app = app(&topic);
        let mut bodies: Vec<Body> = (0..subscribers)
            .map(|_| open(&runtime, &mut app, "/topic"))
            .collect();
        let _entered = runtime.enter();
        let mut allocated = AllocationInfo::default();
        // Publishing the first events allocates buffers that later events reuse, so only the last
        // measurement counts.
        for seq in 0..100 {
            for body in &mut bodies {
                while next(body).is_some() {}
            }
            allocated = measure(|| drop(topic.try_publish(&tick(seq)).unwrap()));
        }
        allocated.count_total
    };
    let counts = [1, 10, 1_000].map(publish_to);
    assert_eq!(counts, [counts[0]; 3]);
    // If there is no reader to wake, `try_publish` needs one allocation fewer.
    assert!(publish_to(0) <= counts[0]);
}

/// The limit excludes the memory that tokio itself allocates for the keep-alive timer and for the
/// cancellation token.
#[test]
fn waiting_stream_holds_at_most_a_kibibyte() {
    const STREAMS: usize = 1_000;
    let runtime = runtime();
    let mut app = app(&Topic::in_memory(16));
    let _entered = runtime.enter();
    let server = CancellationToken::new();
    let mut tokios = Vec::with_capacity(1);
    let of_tokio = measure(|| {
        let timer = Box::pin(sleep(Duration::from_secs(15)));
        let ending = server.child_token();
        tokios.push((timer, Box::pin(ending.clone().cancelled_owned()), ending));
    });
    for path in ["/quiet", "/topic"] {
        // Opening the first stream also allocates the state that all streams share, so exclude the
        // first stream from the measurement.
        let _first = open(&runtime, &mut app, path);
        let mut bodies = Vec::with_capacity(STREAMS);
        let held = measure(|| {
            for _ in 0..STREAMS {
                let mut body = open(&runtime, &mut app, path);
                assert_eq!(next(&mut body), None);
                bodies.push(body);
            }
        });
        let each = held.bytes_current / STREAMS as i64;
        let own = each - of_tokio.bytes_current;
        assert!(
            (1..=1024).contains(&own),
            "{path}: {each} bytes, {own} excluding tokio"
        );
    }
}

#[test]
fn rooms_that_everyone_has_left_hold_no_memory() {
    const ROOMS: usize = 10_000;
    let rooms = PresenceRooms::new(Duration::ZERO);
    let mut here = Vec::with_capacity(ROOMS);
    // The names differ in each round, so that no room replaces an earlier one.
    let mut members = 0..;
    let mut fill_and_leave = || {
        for member in members.by_ref().take(ROOMS) {
            here.push(rooms.room(&member.to_string()).join(member));
        }
        assert_eq!(rooms.len(), ROOMS);
        here.clear();
    };
    // The first round also allocates the buffers that all later changes share.
    fill_and_leave();
    let held = measure(fill_and_leave);
    assert!(held.bytes_max > 100 * ROOMS as u64, "{held:?}");
    assert!(held.bytes_current < 1024, "{held:?}");
}
