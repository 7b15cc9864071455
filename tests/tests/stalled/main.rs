//! Clients that stop reading, read too slowly, or vanish. The server disconnects them without
//! affecting other clients.
#![allow(
    clippy::unwrap_used,
    reason = "in tests, `unwrap` doubles as an assertion"
)]

mod http1;
mod http2;
mod many;
mod vanished;

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, extract::State};
use sse_runtime::{CloseReason, Connection, Server, Stream, Text, sse_endpoint};
use support::{Generators, SseRouterExt as _, server_of, within};
use tokio::{sync::mpsc, time::interval};

/// How long a client may go without reading before the server disconnects it.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Longer than any test. Used to disable limits that are not under test.
const NEVER: Duration = Duration::from_secs(600);

/// The extra delay to tolerate on a busy machine.
const LATE: Duration = Duration::from_secs(2);

/// State that the handlers share with the test.
#[derive(Clone)]
struct Told {
    generators: Generators,
    closed: mpsc::UnboundedSender<Closed>,
}

/// A stream that has ended.
#[derive(Debug)]
struct Closed {
    /// The path of the request.
    path: &'static str,
    reason: CloseReason,
    /// The number of bytes yielded by the generator, and the time since the generator yielded the
    /// last of these bytes.
    yielded: usize,
    idle: Duration,
    /// The number of generators alive when the hook ran.
    alive: usize,
}

/// Counts the bytes yielded by a generator.
#[derive(Clone)]
struct Meter(Arc<(AtomicUsize, Mutex<Instant>)>);

impl Meter {
    fn count(&self, bytes: usize) {
        self.0.0.fetch_add(bytes, Ordering::Relaxed);
        *self.0.1.lock().unwrap() = Instant::now();
    }
}

impl Told {
    fn new() -> (Self, mpsc::UnboundedReceiver<Closed>) {
        let (closed, reasons) = mpsc::unbounded_channel();
        let generators = Generators::new();
        (Self { generators, closed }, reasons)
    }

    /// Reports the stream when it closes.
    fn watch(&self, connection: &Connection, path: &'static str) -> Meter {
        let meter = Meter(Arc::new((AtomicUsize::new(0), Mutex::new(Instant::now()))));
        let (told, seen) = (self.clone(), meter.clone());
        connection.on_close(move |reason| async move {
            let _ = told.closed.send(Closed {
                path,
                reason,
                yielded: seen.0.0.load(Ordering::Relaxed),
                idle: seen.0.1.lock().unwrap().elapsed(),
                alive: told.generators.count().alive,
            });
        });
        meter
    }
}

const EVENT: usize = 1000;

/// Yields 1,000-byte events for as long as the client reads.
#[sse_endpoint("/each", flush = "each")]
async fn each(
    connection: Connection,
    State(told): State<Told>,
) -> impl Stream<Item = Text<String>> {
    let meter = told.watch(&connection, "/each");
    let _running = told.generators.enter();
    loop {
        meter.count(EVENT);
        yield_!(Text("x".repeat(EVENT)));
    }
}

#[sse_endpoint("/ready", flush = "ready")]
async fn ready(
    connection: Connection,
    State(told): State<Told>,
) -> impl Stream<Item = Text<String>> {
    let meter = told.watch(&connection, "/ready");
    let _running = told.generators.enter();
    loop {
        meter.count(EVENT);
        yield_!(Text("x".repeat(EVENT)));
    }
}

const HUGE: usize = 10_000_000;

/// Yields one event that does not fit in any kernel buffer.
#[sse_endpoint("/huge")]
async fn huge(
    connection: Connection,
    State(told): State<Told>,
) -> impl Stream<Item = Text<String>> {
    let meter = told.watch(&connection, "/huge");
    let _running = told.generators.enter();
    meter.count(HUGE);
    yield_!(Text("x".repeat(HUGE)));
    pending::<()>().await;
}

const TICK: Duration = Duration::from_millis(200);

#[sse_endpoint("/clock")]
async fn clock(connection: Connection, State(told): State<Told>) -> impl Stream<Item = usize> {
    let _meter = told.watch(&connection, "/clock");
    let _running = told.generators.enter();
    let mut ticks = interval(TICK);
    for tick in 0.. {
        ticks.tick().await;
        yield_!(tick);
    }
}

/// Yields one event. After that, only keep-alives are sent.
#[sse_endpoint("/kept-alive", keep_alive = "1s")]
async fn kept_alive(connection: Connection, State(told): State<Told>) -> impl Stream<Item = u32> {
    let _meter = told.watch(&connection, "/kept-alive");
    let _running = told.generators.enter();
    yield_!(1);
    pending::<()>().await;
}

/// Yields only one event.
#[sse_endpoint("/quiet", keep_alive = "off")]
async fn quiet(connection: Connection, State(told): State<Told>) -> impl Stream<Item = u32> {
    let _meter = told.watch(&connection, "/quiet");
    let _running = told.generators.enter();
    yield_!(1);
    pending::<()>().await;
}

/// Returns a server that has these endpoints and disconnects only clients that do not read.
fn server() -> (Server, Told, mpsc::UnboundedReceiver<Closed>) {
    let (told, reasons) = Told::new();
    let app = Router::new()
        .sse(each)
        .sse(ready)
        .sse(huge)
        .sse(clock)
        .sse(kept_alive)
        .sse(quiet)
        .with_state(told.clone());
    let server = server_of(app)
        .send_timeout(SEND_TIMEOUT)
        .tcp_user_timeout(NEVER);
    (server, told, reasons)
}

async fn next(reasons: &mut mpsc::UnboundedReceiver<Closed>) -> Closed {
    within("a stream to end", reasons.recv()).await.unwrap()
}

/// Asserts that a stream was closed as stalled soon after the timeout.
fn assert_stalled(closed: &Closed) {
    assert_eq!(closed.reason, CloseReason::Stalled, "{closed:?}");
    assert!(
        closed.idle >= SEND_TIMEOUT * 9 / 10,
        "too early: {closed:?}"
    );
    assert!(closed.idle < SEND_TIMEOUT + LATE, "too late: {closed:?}");
}
