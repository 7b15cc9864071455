//! Malicious and broken clients. The server responds to them or disconnects them in time, without
//! affecting other clients.
#![allow(
    clippy::unwrap_used,
    reason = "in tests, `unwrap` doubles as an assertion"
)]

mod body;
mod head;
mod http2;
mod pipelining;
mod unix;

use std::{
    cell::Cell,
    future::pending,
    net::SocketAddr,
    panic,
    sync::Once,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{FromRef, Path, State},
    http::StatusCode,
    routing::get,
};
use sse_runtime::{Server, Stream, sse_endpoint};
use support::{Client, Generators, SseRouterExt as _, assert_at_once, serve_as, server_of, within};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    time::interval,
};
use tokio_stream::StreamExt as _;

/// The value used for every server timeout.
const LIMIT: Duration = Duration::from_secs(1);

/// The extra delay to tolerate on a busy machine.
const LATE: Duration = Duration::from_secs(2);

/// More bytes than the kernel can buffer. An upload soon reaches this size if the server keeps
/// reading it.
const MUCH: usize = 64 * 1024 * 1024;

const TICK: Duration = Duration::from_millis(100);

#[sse_endpoint("/clock")]
async fn clock(State(generators): State<Generators>) -> impl Stream<Item = u32> {
    let _running = generators.enter();
    let mut ticks = interval(TICK);
    for tick in 0.. {
        ticks.tick().await;
        yield_!(tick);
    }
}

/// Yields only one event, so no failed write reveals that the client has disconnected.
#[sse_endpoint("/quiet", keep_alive = "off")]
async fn quiet(State(generators): State<Generators>) -> impl Stream<Item = u32> {
    let _running = generators.enter();
    yield_!(1);
    pending::<()>().await;
}

#[sse_endpoint("/kept-alive", keep_alive = "1s")]
async fn kept_alive(State(generators): State<Generators>) -> impl Stream<Item = u32> {
    let _running = generators.enter();
    yield_!(1);
    pending::<()>().await;
}

/// Waits before the response starts.
#[sse_endpoint("/before")]
async fn before(
    State(generators): State<Generators>,
) -> Result<impl Stream<Item = u32>, StatusCode> {
    let _running = generators.enter();
    pending::<()>().await;
    yield_!(1);
}

/// Finishes once the test opens the gate.
#[sse_endpoint("/gate")]
async fn gate(
    State(generators): State<Generators>,
    State(open): State<watch::Receiver<bool>>,
) -> impl Stream<Item = u32> {
    let mut open = open;
    let _running = generators.enter();
    yield_!(1);
    let _ = open.wait_for(|open| *open).await;
    yield_!(2);
}

#[sse_endpoint("/json", method = POST)]
async fn json(
    State(generators): State<Generators>,
    Json(body): Json<Vec<u32>>,
) -> impl Stream<Item = Vec<u32>> {
    let _running = generators.enter();
    yield_!(body);
}

/// Does not read the request body.
#[sse_endpoint("/unread", method = POST)]
async fn unread(State(generators): State<Generators>) -> impl Stream<Item = u32> {
    let _running = generators.enter();
    let mut ticks = interval(TICK);
    for tick in 0.. {
        ticks.tick().await;
        yield_!(tick);
    }
}

/// Echoes the request body as it arrives.
#[sse_endpoint("/talk", method = POST)]
async fn talk(State(generators): State<Generators>, body: Body) -> impl Stream<Item = String> {
    let _running = generators.enter();
    let mut body = body.into_data_stream();
    while let Some(said) = body.next().await {
        match said {
            Ok(data) => yield_!(String::from_utf8_lossy(&data).into_owned()),
            Err(error) => yield_!(error.to_string()),
        }
    }
    yield_!("good-bye".to_owned());
}

#[derive(Clone, FromRef)]
struct Shared {
    generators: Generators,
    open: watch::Receiver<bool>,
}

fn app() -> (Router, Generators, watch::Sender<bool>) {
    let generators = Generators::new();
    let (sender, open) = watch::channel(false);
    let app = Router::new()
        .sse(clock)
        .sse(quiet)
        .sse(kept_alive)
        .sse(before)
        .sse(gate)
        .sse(json)
        .sse(unread)
        .sse(talk)
        .route(
            "/plain/{number}",
            get(|Path(number): Path<u32>| async move { format!("<{number}>") }),
        )
        .with_state(Shared {
            generators: generators.clone(),
            open,
        });
    (app, generators, sender)
}

/// Returns a server with short timeouts.
fn impatient(app: Router) -> Server {
    server_of(app)
        .header_read_timeout(LIMIT)
        .body_read_timeout(LIMIT)
        .send_timeout(LIMIT)
        .tcp_user_timeout(LIMIT * 2)
}

async fn server() -> (SocketAddr, Generators) {
    count_panics();
    let (app, generators, _) = app();
    (serve_as(impatient(app)).await, generators)
}

thread_local! {
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// Counts the panics on this thread. The server runs on the test thread, so the server's panics are
/// counted.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            hook(info);
        }));
    });
}

/// A well-behaved client, which must not be affected by the other clients.
struct Bystander {
    client: Client,
    since: Instant,
    events: u32,
}

impl Bystander {
    async fn new(addr: SocketAddr) -> Self {
        let mut client = Client::get(addr, "/clock").await;
        client.head().await;
        let since = Instant::now();
        Self {
            client,
            since,
            events: 0,
        }
    }

    /// Asserts that the bystander has received its events in time and that the server still accepts
    /// other clients.
    async fn assert_undisturbed(mut self, addr: SocketAddr) {
        let due = self.since.elapsed().as_millis() / TICK.as_millis();
        let start = Instant::now();
        while u128::from(self.events) < due {
            assert_eq!(
                self.client.expect_chunk().await,
                format!("data: {}\n\n", self.events)
            );
            self.events += 1;
        }
        assert_at_once("reading the events that were already due", start);
        let head = Client::get(addr, "/plain/1").await.head().await;
        assert_eq!(head.status_line, "HTTP/1.1 200 OK");
        assert_eq!(PANICS.get(), 0, "the server panicked");
    }
}

/// The bytes that a client received, and the time until its connection was closed.
#[derive(Debug)]
struct Got {
    bytes: Vec<u8>,
    after: Duration,
}

impl Got {
    /// Returns the status of the HTTP/1 response, if there was one.
    fn status(&self) -> Option<u16> {
        let line = self.bytes.strip_prefix(b"HTTP/1.1 ")?;
        std::str::from_utf8(line.get(..3)?).ok()?.parse().ok()
    }
}

/// Reads until the connection is closed or reset.
async fn read_all(mut socket: impl AsyncRead + Unpin) -> Got {
    let (start, mut bytes) = (Instant::now(), Vec::new());
    let _ = within(
        "the server to close the connection",
        socket.read_to_end(&mut bytes),
    )
    .await;
    Got {
        bytes,
        after: start.elapsed(),
    }
}

/// Sends `bytes` and then stays connected without sending anything else.
async fn send_and_read(addr: SocketAddr, bytes: &[u8]) -> Got {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    let (reads, mut writes) = socket.split();
    let (got, ()) = tokio::join!(read_all(reads), async {
        // The server may close the connection before all bytes have been written.
        let _ = writes.write_all(bytes).await;
        writes.flush().await.unwrap_or_default();
    });
    got
}

/// Sends `head` and then sends `again` repeatedly, as fast as the server reads. Returns the total
/// size of the repetitions sent, and the response.
async fn pour(socket: impl AsyncRead + AsyncWrite, head: &[u8], again: &[u8]) -> (usize, Got) {
    let (reads, mut writes) = tokio::io::split(socket);
    let pouring = async {
        let mut len = 0;
        if writes.write_all(head).await.is_ok() {
            while writes.write_all(again).await.is_ok() {
                len += again.len();
                assert!(len < MUCH, "the server reads without limit");
            }
        }
        len
    };
    let (got, len) = tokio::join!(
        read_all(reads),
        within("the connection to be closed", pouring)
    );
    (len, got)
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&len[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// Returns a HEADERS frame that contains a complete request. The path is a literal (RFC 7541,
/// section 6.2.2).
fn get_frame(stream: u32, path: &str) -> Vec<u8> {
    let len = u8::try_from(path.len()).unwrap();
    let head = [&[0x82, 0x86, 0x01, 4], &b"test"[..], &[0x04, len]].concat();
    frame(HEADERS, 5, stream, &[&head, path.as_bytes()].concat())
}
