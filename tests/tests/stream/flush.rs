//! Tests when `sse_runtime::serve` writes an event over HTTP/1 and when the server resumes the
//! generator.

use std::{
    future::{pending, ready},
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::HttpBody as _,
    extract::{Path, State},
    middleware::map_response_with_state,
    response::Response,
};
use sse_runtime::{Stream, Text, sse_endpoint};
use tokio::{net::TcpSocket, sync::watch};

use support::{
    Client, Generators, SseRouterExt as _, assert_at_once, body, serve, serve_on, serve_plain,
    within,
};

/// Blocks a generator's thread until the client has received everything yielded so far. The client
/// can receive this data only if the server flushes it before the generator blocks.
#[derive(Clone)]
struct Block(Arc<Mutex<Blocked>>);

struct Blocked {
    at: mpsc::Sender<Instant>,
    seen: mpsc::Receiver<()>,
}

/// The client side of a [`Block`].
struct Watcher {
    at: mpsc::Receiver<Instant>,
    seen: mpsc::Sender<()>,
}

impl Block {
    fn new() -> (Self, Watcher) {
        let (at, watch_at) = mpsc::channel();
        let (watch_seen, seen) = mpsc::channel();
        let watcher = Watcher {
            at: watch_at,
            seen: watch_seen,
        };
        (Self(Arc::new(Mutex::new(Blocked { at, seen }))), watcher)
    }

    /// Blocks until the client has received everything yielded so far, but for at most two seconds.
    fn block(&self) {
        let blocked = self.0.lock().unwrap();
        blocked.at.send(Instant::now()).unwrap();
        let _seen_or_late = blocked.seen.recv_timeout(Duration::from_secs(2));
    }
}

impl Watcher {
    /// Asserts that everything yielded before the generator blocked has arrived promptly. Then
    /// unblocks the generator.
    fn saw(&self, what: &str) {
        let blocked_at = self.at.recv_timeout(Duration::from_secs(5)).unwrap();
        assert_at_once(what, blocked_at);
        self.seen.send(()).unwrap();
    }
}

/// Returns the lines that a client receives. The client uses a blocking socket because the
/// generator blocks the runtime.
fn lines(addr: SocketAddr, path: &str) -> impl Iterator<Item = String> {
    let mut socket = std::net::TcpStream::connect(addr).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
    BufReader::new(socket).lines().map(Result::unwrap)
}

#[sse_endpoint("/blocks-after-an-event")]
async fn blocks_after_an_event(State(block): State<Block>) -> impl Stream<Item = u32> {
    yield_!(1);
    block.block();
    pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn event_is_sent_before_the_generator_blocks() {
    let (block, watcher) = Block::new();
    let addr = serve(Router::new().sse(blocks_after_an_event).with_state(block)).await;

    let mut lines = lines(addr, "/blocks-after-an-event");
    assert!(lines.any(|line| line == "data: 1"));
    watcher.saw("an event before a block");
}

/// The number of ready awaits determines how much of the task's budget is left. If no budget is
/// left, the write to the socket returns `Pending`. If the body then returned `Pending` only once,
/// the body would be polled again before its earlier events were written.
#[sse_endpoint("/spends-its-budget")]
async fn spends_its_budget(State(block): State<Block>) -> impl Stream<Item = u32> {
    for awaits in (0..=140).chain([200]) {
        for _ in 0..awaits {
            ready(()).await;
        }
        yield_!(awaits);
        block.block();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn event_is_sent_after_the_coop_budget_is_spent() {
    let (block, watcher) = Block::new();
    let addr = serve(Router::new().sse(spends_its_budget).with_state(block)).await;

    let mut lines = lines(addr, "/spends-its-budget");
    for awaits in (0..=140).chain([200]) {
        let data = format!("data: {awaits}");
        assert!(lines.any(|line| line == data));
        watcher.saw(&format!("an event after {awaits} ready awaits"));
    }
}

#[sse_endpoint("/blocks-after-a-wait")]
async fn blocks_after_a_wait(State(block): State<Block>) -> impl Stream<Item = u32> {
    tokio::task::yield_now().await;
    block.block();
    yield_!(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_flushed_after_the_first_wait() {
    let (block, watcher) = Block::new();
    let app = Router::new().sse(blocks_after_a_wait).with_state(block);
    let addr = serve(app).await;

    let mut lines = lines(addr, "/blocks-after-a-wait");
    assert!(lines.any(|line| line.is_empty()), "the end of the head");
    watcher.saw("the head");
    assert!(lines.any(|line| line == "data: 1"));
}

const KIB: usize = 1024;

/// Yields an endless series of events of the given size. Adds the size of each event to the count
/// after `yield_!` returns.
#[sse_endpoint("/flood/{bytes}")]
async fn flood(
    Path(bytes): Path<usize>,
    State(yielded): State<watch::Sender<usize>>,
) -> impl Stream<Item = Text<String>> {
    loop {
        yield_!(Text("x".repeat(bytes)));
        yielded.send_modify(|sum| *sum += bytes);
    }
}

/// A layer that counts how often the body is polled.
async fn count_polls(State(polls): State<Arc<AtomicUsize>>, response: Response) -> Response {
    response.map(|mut body| {
        body::poll_fn(move |cx| {
            polls.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut body).poll_frame(cx)
        })
    })
}

/// Waits until the generator stops yielding events. Returns the number of bytes yielded so far.
async fn until_stalled(yielded: &mut watch::Receiver<usize>) -> usize {
    within("the generator to stall", async {
        // In this period, a generator that is not stalled yields about a hundred times.
        let silence = Duration::from_millis(300);
        while let Ok(changed) = tokio::time::timeout(silence, yielded.changed()).await {
            changed.unwrap();
        }
    })
    .await;
    *yielded.borrow()
}

/// A client that has requested events of a given size but does not read them.
struct Flood {
    client: Client,
    yielded: watch::Receiver<usize>,
    polls: Arc<AtomicUsize>,
}

impl Flood {
    async fn start(bytes: usize) -> Self {
        let polls = Arc::new(AtomicUsize::new(0));
        let (sender, yielded) = watch::channel(0);
        let app = Router::new()
            .sse(flood)
            .layer(map_response_with_state(Arc::clone(&polls), count_polls))
            .with_state(sender);

        // The accepted sockets inherit the listener's small buffers, so the test measures only the
        // data buffered outside the kernel.
        let listener = TcpSocket::new_v4().unwrap();
        listener.set_send_buffer_size(4 * 1024).unwrap();
        listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = serve_on(listener.listen(1).unwrap(), app);
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 * 1024).unwrap();
        let mut client = Client::over(socket.connect(addr).await.unwrap());
        let request = format!("GET /flood/{bytes} HTTP/1.1\r\nhost: test\r\n\r\n");
        client.send(request.as_bytes()).await;
        Self {
            client,
            yielded,
            polls,
        }
    }

    /// Asserts that nothing busy-loops. Each frame needs at most two polls, and the head needs one.
    fn assert_polls_for(&self, frames: usize) {
        let polls = self.polls.load(Ordering::Relaxed);
        assert!(polls <= 3 * frames + 10, "{polls} polls, {frames} frames");
    }

    /// Reads until the generator has yielded more than `taken` bytes.
    async fn read_past(mut self, taken: usize) {
        self.client.head().await;
        while *self.yielded.borrow() <= taken {
            self.client.expect_chunk().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn generator_waits_while_client_does_not_read() {
    let mut flood = Flood::start(KIB).await;
    let taken = until_stalled(&mut flood.yielded).await;
    assert!(
        taken < 100 * KIB,
        "{taken} bytes were yielded even though the client was not reading"
    );
    flood.assert_polls_for(taken / KIB + 1);
    flood.read_past(taken).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn generator_waits_until_kernel_has_the_event() {
    // Each event is too large for the kernel to accept in one write.
    let mut flood = Flood::start(256 * KIB).await;
    assert_eq!(until_stalled(&mut flood.yielded).await, 0);
    flood.assert_polls_for(1);
    flood.read_past(0).await;
}

const MANY: u32 = 1000;

#[sse_endpoint("/each")]
async fn each() -> impl Stream<Item = u32> {
    for event in 0..MANY {
        yield_!(event);
    }
    pending::<()>().await;
}

#[sse_endpoint("/ready", flush = "ready")]
async fn ready_together() -> impl Stream<Item = u32> {
    for event in 0..MANY {
        yield_!(event);
    }
    pending::<()>().await;
}

fn many_events() -> Router {
    Router::new().sse(each).sse(ready_together)
}

/// Returns the number of chunks. Each chunk is one body frame. The last event must not be held
/// back, even though the generator waits forever after yielding that event.
async fn chunks_of(addr: SocketAddr, path: &str) -> usize {
    let mut client = Client::get(addr, path).await;
    client.head().await;
    let mut chunks = 0;
    let mut text = String::new();
    let all: String = (0..MANY)
        .map(|event| format!("data: {event}\n\n"))
        .collect();
    while text.len() < all.len() {
        text.push_str(&client.expect_chunk().await);
        chunks += 1;
    }
    assert_eq!(text, all);
    chunks
}

#[tokio::test]
async fn flush_each_writes_each_event_separately() {
    let addr = serve(many_events()).await;
    assert_eq!(chunks_of(addr, "/each").await, MANY as usize);
}

#[tokio::test]
async fn flush_ready_writes_ready_events_together() {
    let addr = serve(many_events()).await;
    let chunks = chunks_of(addr, "/ready").await;
    assert!(chunks < 50, "{chunks} chunks");
}

#[tokio::test]
async fn axum_serve_flushes_if_the_generator_waits() {
    let addr = serve_plain(many_events()).await;
    assert_eq!(chunks_of(addr, "/each").await, MANY as usize);
    let chunks = chunks_of(addr, "/ready").await;
    assert!(chunks < 50, "{chunks} chunks");
}

#[sse_endpoint("/limited/each", max_duration = "1s", keep_alive = "off")]
async fn limited_each(State(generators): State<Generators>) -> impl Stream<Item = Text<String>> {
    let _running = generators.enter();
    loop {
        yield_!(Text("x".repeat(KIB)));
    }
}

#[sse_endpoint(
    "/limited/ready",
    max_duration = "1s",
    keep_alive = "off",
    flush = "ready"
)]
async fn limited_ready(State(generators): State<Generators>) -> impl Stream<Item = Text<String>> {
    let _running = generators.enter();
    loop {
        yield_!(Text("x".repeat(KIB)));
    }
}

#[tokio::test]
async fn max_duration_ends_stream_that_is_not_read() {
    let generators = Generators::new();
    let app = Router::new().sse(limited_each).sse(limited_ready);
    let addr = serve(app.with_state(generators.clone())).await;
    let _each = Client::get(addr, "/limited/each").await;
    let _ready = Client::get(addr, "/limited/ready").await;
    generators.until_started(2).await;
    generators.until_alive(0).await;
}
