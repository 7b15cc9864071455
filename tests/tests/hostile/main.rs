//! Clients that mean harm, or are broken: each is answered or closed in time, and nobody else notices.
#![allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping"
)]

use std::{
    cell::Cell,
    future::pending,
    io,
    net::SocketAddr,
    panic,
    sync::Once,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{FromRef, Path, State},
    http::{Request, StatusCode},
    routing::get,
};
use sse_runtime::{RouterExt as _, Server, Shutdown, Stream, sse_endpoint};
use support::{Client, Generators, assert_at_once, serve_as, server_of, within};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
    time::{interval, sleep},
};
use tokio_stream::StreamExt as _;

/// How long a client may take here for whatever it has to do.
const LIMIT: Duration = Duration::from_secs(1);

/// What a busy machine may be late by.
const LATE: Duration = Duration::from_secs(2);

/// An upload is stopped by the system's buffers at the latest; without an end it would come to this in no time.
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

/// One event, and nothing: no write shows that its client has left.
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

/// Waits before the response begins.
#[sse_endpoint("/before")]
async fn before(
    State(generators): State<Generators>,
) -> Result<impl Stream<Item = u32>, StatusCode> {
    let _running = generators.enter();
    pending::<()>().await;
    yield_!(1);
}

/// Ends when the test says so.
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

/// Leaves the body alone.
#[sse_endpoint("/unread", method = POST)]
async fn unread(State(generators): State<Generators>) -> impl Stream<Item = u32> {
    let _running = generators.enter();
    let mut ticks = interval(TICK);
    for tick in 0.. {
        ticks.tick().await;
        yield_!(tick);
    }
}

/// Answers whatever comes while it comes.
#[sse_endpoint("/talk", method = POST)]
async fn talk(State(generators): State<Generators>, body: Body) -> impl Stream<Item = String> {
    let _running = generators.enter();
    let mut body = body.into_data_stream();
    while let Some(said) = body.next().await {
        match said {
            Ok(said) => yield_!(String::from_utf8_lossy(&said).into_owned()),
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

/// A server of all of these, which is not patient.
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

/// The server runs on its test's thread, so it is the server that panics there.
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

/// A client like any other, which is undisturbed.
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

    /// That it has got its events, at the pace at which they come, and that others still find the server.
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
        assert_at_once("what had happened already", start);
        let head = Client::get(addr, "/plain/1").await.head().await;
        assert_eq!(head.status_line, "HTTP/1.1 200 OK");
        assert_eq!(PANICS.get(), 0, "the server panicked");
    }
}

/// What a client got before its connection was closed.
#[derive(Debug)]
struct Got {
    bytes: Vec<u8>,
    after: Duration,
}

impl Got {
    /// Of HTTP/1, where there was an answer.
    fn status(&self) -> Option<u16> {
        let line = self.bytes.strip_prefix(b"HTTP/1.1 ")?;
        std::str::from_utf8(line.get(..3)?).ok()?.parse().ok()
    }
}

/// Reads until the server closes the connection, in good order or not.
async fn read_out(mut socket: impl AsyncRead + Unpin) -> Got {
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

/// A client that says `bytes`, and then nothing, and does not leave.
async fn say(addr: SocketAddr, bytes: &[u8]) -> Got {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    let (reads, mut writes) = socket.split();
    let (got, ()) = tokio::join!(read_out(reads), async {
        // It may be closed before that.
        let _ = writes.write_all(bytes).await;
        writes.flush().await.unwrap_or_default();
    });
    got
}

/// Says `bytes` one by one, and then the last of them for ever.
async fn drip(addr: SocketAddr, bytes: &[u8], pause: Duration) -> Got {
    let socket = TcpStream::connect(addr).await.unwrap();
    let (reads, mut writes) = socket.into_split();
    let bytes = bytes.to_vec();
    let dripping = tokio::spawn(async move {
        let last = *bytes.last().unwrap();
        for byte in bytes.into_iter().chain(std::iter::repeat(last)) {
            if writes.write_all(&[byte]).await.is_err() {
                return;
            }
            sleep(pause).await;
        }
    });
    let got = read_out(reads).await;
    dripping.abort();
    got
}

/// Says `head`, and then `again` for ever, as fast as it is taken; how much of it was taken, and what came back.
async fn pour(socket: impl AsyncRead + AsyncWrite, head: &[u8], again: &[u8]) -> (usize, Got) {
    let (reads, mut writes) = tokio::io::split(socket);
    let pouring = async {
        let mut len = 0;
        if writes.write_all(head).await.is_ok() {
            while writes.write_all(again).await.is_ok() {
                len += again.len();
                assert!(len < MUCH, "it is taken without an end");
            }
        }
        len
    };
    let (got, len) = tokio::join!(read_out(reads), within("an end", pouring));
    (len, got)
}

// Slow ones

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[tokio::test]
async fn whoever_does_not_come_to_the_end_of_a_head() {
    let (addr, _) = server().await;
    let bystander = Bystander::new(addr).await;
    let pause = Duration::from_millis(30);
    let settings = [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat();
    let half_a_frame = [&settings[..], &get_frame(1, "/clock")[..5]].concat();
    let half_a_head = [&settings[..], &frame(HEADERS, 0, 1, &[0x82])].concat();
    let got = tokio::join!(
        drip(addr, b"GET /clock HTTP/1.1\r\nx: ", pause),
        drip(addr, b"GET /", pause),
        drip(addr, PREFACE, Duration::from_millis(150)),
        say(addr, b""),
        say(addr, b"G"),
        say(addr, b"GET /clock HTTP/1.1\r\nhost: test\r\n"),
        say(addr, b"PR"),
        say(addr, b"PRI"),
        say(addr, &PREFACE[..20]),
        say(addr, PREFACE),
        say(addr, &settings),
        async {
            (
                say(addr, &half_a_frame).await,
                say(addr, &half_a_head).await,
            )
        },
        say(addr, b"GET /plain/1 HTTP/1.1\r\nhost: test\r\n\r\n"),
    );
    let (a, b, c, d, e, f, g, h, i, j, k, (l, m), idle) = got;
    assert_eq!(idle.status(), Some(200));
    let all = [a, b, c, d, e, f, g, h, i, j, k, l, m, idle];
    for (number, got) in all.iter().enumerate() {
        // The limit to a head, or a PING and the limit to its answer.
        assert!(got.after > LIMIT / 2, "{number}: {got:?}");
        assert!(got.after < 2 * LIMIT + LATE, "{number}: {got:?}");
    }
    bystander.assert_undisturbed(addr).await;
}

#[tokio::test]
async fn heads_that_are_too_large() {
    let (addr, _) = server().await;
    let bystander = Bystander::new(addr).await;
    let fields: String = (0..200).map(|field| format!("x-{field}: y\r\n")).collect();
    let got = say(
        addr,
        format!("GET /plain/1 HTTP/1.1\r\n{fields}\r\n").as_bytes(),
    )
    .await;
    assert_eq!(got.status(), Some(431), "{got:?}");

    // The server has room for 64 KiB.
    for (len, status) in [(50_000, 200), (100_000, 431)] {
        let head = format!("GET /plain/1 HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(len));
        let got = say(addr, head.as_bytes()).await;
        // What was not read resets the connection, and may take the answer along.
        assert_eq!(got.status().unwrap_or(431), status, "{len}");
    }

    let connect = || async { TcpStream::connect(addr).await.unwrap() };
    let much = vec![b'x'; 64 * 1024];
    let (long_field, long_line, many_fields) = tokio::join!(
        async { pour(connect().await, b"GET /plain/1 HTTP/1.1\r\nx: ", &much).await },
        async { pour(connect().await, b"GET /", &much).await },
        async { pour(connect().await, b"GET /plain/1 HTTP/1.1\r\n", b"x: y\r\n").await },
    );
    for (_, got) in [long_field, long_line, many_fields] {
        // What was not read resets the connection, and the answer with it.
        let status = got.status().unwrap_or(431);
        assert!((400..500).contains(&status), "{got:?}");
        assert!(got.after < LIMIT + LATE, "{got:?}");
    }
    bystander.assert_undisturbed(addr).await;
}

/// Bytes that are the same in each run.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    // xorshift64* (Marsaglia, Vigna).
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(len).collect()
}

#[tokio::test]
async fn what_is_not_http() {
    const POST: &[u8] = b"POST /unread HTTP/1.1\r\nhost: test\r\n";
    const CLIENT_HELLO: &[u8] =
        b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09";
    let (addr, _) = server().await;
    let bystander = Bystander::new(addr).await;
    let post = |rest: &[u8]| [POST, rest].concat();

    // Each is refused, or nothing but closed.
    let mut refused: Vec<Vec<u8>> = vec![
        CLIENT_HELLO.to_vec(),
        b"GET /plain/1\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\n\r\n\r\n".to_vec(),
        b"PRINT /plain/1 HTTP/1.1\r\nhost: te st\r\n x: y\r\n\r\n".to_vec(),
        b"GET /plain/1 HTTP/1.1\r\nhost\r\n\r\n".to_vec(),
        b"GET /plain/1 HTTP/1.1\r\nx : y\r\n\r\n".to_vec(),
        b"GET /plain/1 HTTP/3.0\r\n\r\n".to_vec(),
        b"\0\0\0\0\r\n\r\n".to_vec(),
        post(b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!"),
        post(b"content-length: 5, 6\r\n\r\nhello!"),
        post(b"content-length: -5\r\n\r\n"),
        post(b"content-length: 99999999999999999999\r\n\r\n"),
        post(b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        post(b"transfer-encoding: cow\r\n\r\n"),
    ];
    for seed in 0..24 {
        let noise = noise(seed, 1 + usize::try_from(seed).unwrap() * 150);
        refused.push(noise.clone());
        refused.push([b"GET /plain/1 HTTP/1.1\r\n", &noise[..]].concat());
        refused.push([PREFACE, &noise[..]].concat());
        let settings = frame(SETTINGS, 0, 0, b"");
        refused.push([PREFACE, &settings, &frame(HEADERS, 5, 1, &noise)].concat());
    }
    let mut saying = JoinSet::new();
    for bytes in refused {
        saying.spawn(async move {
            let got = say(addr, &bytes).await;
            (bytes, got)
        });
    }
    while let Some(said) = saying.join_next().await {
        let (bytes, got) = said.unwrap();
        let bytes = String::from_utf8_lossy(&bytes);
        let status = got.status().unwrap_or(400);
        assert!((400..=505).contains(&status), "{bytes:?} {got:?}");
        assert!(got.after < 2 * LIMIT + LATE, "{bytes:?} {:?}", got.after);
    }

    // Where the stream has begun already it breaks off.
    for bad in [
        &b"transfer-encoding: chunked\r\n\r\nnonsense\r\n"[..],
        b"transfer-encoding: chunked\r\n\r\n-1\r\n",
        b"transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"transfer-encoding: chunked\r\n\r\n5\r\nhello!!!\r\n",
    ] {
        let got = say(addr, &post(bad)).await;
        assert!(!got.bytes.ends_with(b"0\r\n\r\n"), "{got:?}");
        assert!(got.after < LATE, "{got:?}");
    }

    // Of both framings the chunks count (RFC 9112, section 6.3), and what is behind them is nobody's request.
    let both = b"POST /json HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: 4\r\n\
        transfer-encoding: chunked\r\n\r\n3\r\n[1]\r\n0\r\n\r\nGET /plain/7 HTTP/1.1\r\nhost: test\r\n\r\n";
    let got = say(addr, both).await;
    let text = String::from_utf8_lossy(&got.bytes);
    assert!(text.contains("data: [1]"), "{text}");
    assert!(!text.contains("<7>"), "{text}");
    bystander.assert_undisturbed(addr).await;
}

// Bodies

#[tokio::test]
async fn a_body_that_does_not_come() {
    let (addr, generators) = server().await;
    let bystander = Bystander::new(addr).await;
    let head = |framing: &str| {
        let head = "POST /json HTTP/1.1\r\nhost: test\r\ncontent-type: application/json";
        format!("{head}\r\n{framing}\r\n\r\n")
    };
    let stops = head("content-length: 100") + "[1,2,";
    let stops_in_a_chunk = head("transfer-encoding: chunked") + "64\r\n[1,2,";
    let drips = head("content-length: 1000000") + "[";
    let (stopped, stopped_in_a_chunk, dripped) = tokio::join!(
        say(addr, stops.as_bytes()),
        say(addr, stops_in_a_chunk.as_bytes()),
        async {
            let mut socket = TcpStream::connect(addr).await.unwrap();
            socket.write_all(drips.as_bytes()).await.unwrap();
            let (reads, mut writes) = socket.into_split();
            let dripping = async {
                while writes.write_all(b" ").await.is_ok() {
                    sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::join!(read_out(reads), dripping).0
        },
    );
    for got in [stopped, stopped_in_a_chunk, dripped] {
        assert_eq!(got.status(), Some(400), "{got:?}");
        assert!(got.after > LIMIT / 2, "{got:?}");
        assert!(got.after < LIMIT + LATE, "{got:?}");
    }
    // Nothing but the one that looks on.
    assert_eq!(generators.count().started, 1);
    bystander.assert_undisturbed(addr).await;
}

/// One chunk, over and over.
fn chunk() -> Vec<u8> {
    [&b"10000\r\n"[..], &[b' '; 0x10000], b"\r\n"].concat()
}

#[tokio::test]
async fn a_body_without_an_end() {
    let (addr, generators) = server().await;
    let bystander = Bystander::new(addr).await;
    // An extractor takes so much, and no more.
    let socket = TcpStream::connect(addr).await.unwrap();
    let head = b"POST /json HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let (_, got) = pour(socket, head, &chunk()).await;
    // What was not read resets the connection, and may take the answer along.
    assert_eq!(got.status().unwrap_or(413), 413, "{got:?}");

    // Nobody reads this one, and nobody gathers it.
    let mut client = Client::connect(addr).await;
    client
        .send(b"POST /unread HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    client.head().await;
    let (socket, received) = client.into_parts();
    assert_eq!(received.len(), 0);
    let (mut reads, mut writes) = socket.into_split();
    let (sent, mut poured) = watch::channel(0);
    let pouring = tokio::spawn(async move {
        while writes.write_all(&chunk()).await.is_ok() {
            sent.send_modify(|len| *len += 0x10000);
        }
    });
    // Until no more is taken for a while, in which the events go on.
    let mut event = [0; 64];
    let mut quiet = 0;
    while quiet < 5 {
        let before = *poured.borrow_and_update();
        assert!(before < MUCH, "it is taken without an end");
        let len = within("an event", reads.read(&mut event)).await.unwrap();
        assert!(len > 0, "the stream has ended");
        let has_moved = *poured.borrow() > before;
        quiet = if has_moved { 0 } else { quiet + 1 };
    }
    assert_eq!(generators.count().alive, 2);
    pouring.abort();
    let _ = pouring.await;
    drop(reads);
    generators.until_alive(1).await;
    bystander.assert_undisturbed(addr).await;
}

#[tokio::test]
async fn a_client_that_talks_while_it_listens() {
    let (addr, generators) = server().await;
    let mut client = Client::connect(addr).await;
    client
        .send(b"POST /talk HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    client.head().await;
    // Slower than a body has to come before the answer.
    for word in ["one", "two", "six"] {
        sleep(LIMIT + LIMIT / 2).await;
        client.send(format!("3\r\n{word}\r\n").as_bytes()).await;
        assert_eq!(client.expect_chunk().await, format!("data: \"{word}\"\n\n"));
    }
    client.send(b"0\r\n\r\n").await;
    assert_eq!(client.expect_chunk().await, "data: \"good-bye\"\n\n");
    assert_eq!(client.chunk().await, Ok(None));
    assert_eq!(generators.count().started, 1);
}

// HTTP/2, by hand (RFC 9113)

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

/// A whole request, its path as a literal (RFC 7541, section 6.2.2).
fn get_frame(stream: u32, path: &str) -> Vec<u8> {
    let len = u8::try_from(path.len()).unwrap();
    let head = [&[0x82, 0x86, 0x01, 4], &b"test"[..], &[0x04, len]].concat();
    frame(HEADERS, 5, stream, &[&head, path.as_bytes()].concat())
}

#[tokio::test]
async fn streams_that_are_reset_at_once() {
    let (addr, generators) = server().await;
    let bystander = Bystander::new(addr).await;
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat();
    for stream in (1..2_000).step_by(2) {
        bytes.extend(get_frame(stream, "/clock"));
        bytes.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
    }
    let got = say(addr, &bytes).await;
    assert!(got.after < 2 * LIMIT + LATE, "{:?}", got.after);
    generators.until_alive(1).await;
    bystander.assert_undisturbed(addr).await;
}

/// What each of them makes the server answer finds no room, or each of them is refused.
#[tokio::test]
async fn floods_of_frames() {
    let (addr, _) = server().await;
    let bystander = Bystander::new(addr).await;
    let settings = [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat();
    let head = [&settings[..], &frame(HEADERS, 1, 1, &[0x82])].concat();
    let flood = |head: Vec<u8>, frame: Vec<u8>| async move {
        // Nobody reads.
        let (mut socket, _) = Client::connect_narrow(addr).await.into_parts();
        let frames = frame.repeat(512);
        let start = Instant::now();
        within("the flood to end", async {
            let mut len = 0;
            socket.write_all(&head).await.unwrap();
            while socket.write_all(&frames).await.is_ok() {
                len += frames.len();
                assert!(len < MUCH, "it is taken without an end");
            }
        })
        .await;
        assert!(start.elapsed() < 2 * LIMIT + LATE);
    };
    tokio::join!(
        flood(settings.clone(), frame(PING, 0, 0, &[0; 8])),
        flood(settings.clone(), frame(SETTINGS, 0, 0, b"")),
        flood(head, frame(CONTINUATION, 0, 1, &[0x82; 64])),
    );
    bystander.assert_undisturbed(addr).await;
}

/// What somebody says who wants no limit at all.
#[tokio::test]
async fn limits_that_are_no_limits() {
    let (app, generators, _) = app();
    let never = Duration::MAX;
    let server = server_of(app)
        .header_read_timeout(never)
        .body_read_timeout(never)
        .send_timeout(never)
        .tcp_user_timeout(never);
    let addr = serve_as(server).await;
    let mut client = Client::post(addr, "/json", 801, b"[1").await;
    client.send(&[b' '; 798]).await;
    client.send(b"]").await;
    client.head().await;
    assert_eq!(client.expect_chunk().await, "data: [1]\n\n");

    // And a head as large as HTTP/1 takes it.
    let socket = TcpStream::connect(addr).await.unwrap();
    let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
    let _driving = tokio::spawn(connection);
    let request = Request::get("http://test/quiet").header("cookie", "x".repeat(60_000));
    let (response, _) = client
        .send_request(request.body(()).unwrap(), true)
        .unwrap();
    let response = within("an answer", response).await.unwrap();
    assert_eq!(response.status(), 200);
    generators.until_started(2).await;
}

/// It answers PINGs, so it is there, and asks for nothing.
#[tokio::test]
async fn an_idle_connection_of_http2_is_closed() {
    let (app, generators, open) = app();
    let addr = serve_as(impatient(app)).await;
    let connect = async || {
        let socket = TcpStream::connect(addr).await.unwrap();
        let (client, connection) = h2::client::handshake(socket).await.unwrap();
        (client, tokio::spawn(connection))
    };
    let (_silent, silent) = connect().await;
    let (mut listens, connection) = connect().await;
    let request = Request::get("http://test/gate").body(()).unwrap();
    let (response, _) = listens.send_request(request, true).unwrap();
    let mut body = within("the head", response).await.unwrap().into_body();
    within("the first event", body.data())
        .await
        .unwrap()
        .unwrap();

    within("the idle one to be closed", silent)
        .await
        .unwrap()
        .unwrap();
    // One with a quiet stream is not idle.
    assert!(!connection.is_finished());
    generators.until_started(1).await;
    open.send(true).unwrap();
    // Up to a clean end.
    let mut rest = Vec::new();
    while let Some(data) = within("the rest", body.data()).await {
        rest.extend_from_slice(&data.unwrap());
    }
    assert_eq!(rest, b"data: 2\n\n");
}

/// More than there may be at a time: the others wait until some have ended.
#[tokio::test]
async fn many_streams_on_one_connection() {
    const MOST: usize = 250;
    const STREAMS: usize = 300;
    let (app, generators, open) = app();
    let addr = serve_as(impatient(app)).await;
    let socket = TcpStream::connect(addr).await.unwrap();
    let (client, connection) = h2::client::Builder::new()
        .initial_connection_window_size(16 * 1024 * 1024)
        // By itself this client gives a connection up that has many small frames in a burst.
        .data_frame_budget(1024 * 1024)
        .handshake::<_, bytes::Bytes>(socket)
        .await
        .unwrap();
    let _driving = tokio::spawn(connection);
    let ask = |path: &str| Request::get(format!("http://test{path}")).body(()).unwrap();
    // With an answer it has been told how many there may be.
    let mut first = client.clone().ready().await.unwrap();
    let (response, _) = first.send_request(ask("/plain/1"), true).unwrap();
    within("an answer", response).await.unwrap();

    let mut streams = JoinSet::new();
    for _ in 0..STREAMS {
        let client = client.clone();
        let request = ask("/gate");
        streams.spawn(async move {
            let mut client = client.ready().await.unwrap();
            let (response, _) = client.send_request(request, true).unwrap();
            let mut body = response.await.unwrap().into_body();
            let mut text = String::new();
            while let Some(data) = body.data().await {
                let data = data.unwrap();
                let _ = body.flow_control().release_capacity(data.len());
                text += &String::from_utf8_lossy(&data);
            }
            text
        });
    }
    generators.until_started(MOST).await;
    // Whoever is one too many would be here by the time that one more connection has its answer.
    Client::get(addr, "/plain/1").await.head().await;
    assert_eq!(generators.count().started, MOST);
    open.send_replace(true);
    while let Some(text) = within("all to end", streams.join_next()).await {
        assert_eq!(text.unwrap(), "data: 1\n\ndata: 2\n\n");
    }
    assert_eq!(generators.count().started, STREAMS);
}

// Requests behind a stream

fn plain_requests(numbers: std::ops::Range<usize>) -> String {
    let request = |number| format!("GET /plain/{number} HTTP/1.1\r\nhost: test\r\n\r\n");
    numbers.map(request).collect()
}

#[tokio::test]
async fn a_client_that_leaves_with_requests_behind_its_stream() {
    let (addr, generators) = server().await;
    let about_60_kb = 60_000 / plain_requests(10_000..10_001).len();
    for count in [1, 40, about_60_kb] {
        let requests = plain_requests(10_000..10_000 + count);
        // With the request, and behind it.
        for at_once in [true, false] {
            let head = "GET /quiet HTTP/1.1\r\nhost: test\r\n\r\n";
            let mut client = Client::connect(addr).await;
            if at_once {
                client.send((head.to_owned() + &requests).as_bytes()).await;
            } else {
                client.send(head.as_bytes()).await;
            }
            client.head().await;
            client.expect_chunk().await;
            if !at_once {
                client.send(requests.as_bytes()).await;
            }
            assert_eq!(generators.count().alive, 1);
            drop(client);
            generators.until_alive(0).await;
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_response_with_requests_behind_it() {
    let (addr, generators) = server().await;
    for (round, requests) in [1, 40].into_iter().enumerate() {
        for at_once in [true, false] {
            let head = "GET /before HTTP/1.1\r\nhost: test\r\n\r\n".to_owned();
            let requests = plain_requests(0..requests);
            let mut client = Client::connect(addr).await;
            let started = 2 * round + 1 + usize::from(!at_once);
            if at_once {
                client.send((head + &requests).as_bytes()).await;
                generators.until_started(started).await;
            } else {
                client.send(head.as_bytes()).await;
                generators.until_started(started).await;
                client.send(requests.as_bytes()).await;
            }
            drop(client);
            generators.until_alive(0).await;
        }
    }
}

/// Half a close is a whole one, as hyper has it: who sends nothing any more is taken for gone, at once.
#[tokio::test]
async fn a_client_that_half_closes() {
    let (addr, generators) = server().await;
    for requests in [0, 3] {
        let mut client = Client::get(addr, "/quiet").await;
        client.head().await;
        client.expect_chunk().await;
        client.send(plain_requests(0..requests).as_bytes()).await;
        let (mut socket, _) = client.into_parts();
        socket.shutdown().await.unwrap();
        generators.until_alive(0).await;
        let got = read_out(socket).await;
        assert_eq!(got.bytes, b"", "{got:?}");
    }
}

#[tokio::test]
async fn requests_behind_a_stream_that_ends_are_answered_in_order() {
    const FIRST: usize = 10;
    const ALL: usize = 1_000;
    let (app, generators, open) = app();
    let addr = serve_as(impatient(app)).await;
    let mut client = Client::connect(addr).await;
    let head = "GET /gate HTTP/1.1\r\nhost: test\r\n\r\n".to_owned();
    client
        .send((head + &plain_requests(0..FIRST)).as_bytes())
        .await;
    client.head().await;
    assert_eq!(client.expect_chunk().await, "data: 1\n\n");
    // While it streams, and cut where it happens to be.
    for piece in plain_requests(FIRST..ALL).as_bytes().chunks(4_321) {
        client.send(piece).await;
    }
    assert_eq!(generators.count().alive, 1);
    open.send_replace(true);
    assert_eq!(client.expect_chunk().await, "data: 2\n\n");
    assert_eq!(client.chunk().await, Ok(None));
    let mut text = client.read_to(&format!("<{}>", ALL - 1)).await;
    for number in 0..ALL {
        let answer = format!("<{number}>");
        let at = text.find(&answer).expect("an answer to each");
        assert_eq!(text[..at].matches("HTTP/1.1 200 OK").count(), 1);
        text.drain(..at + answer.len());
    }
}

/// Under `axum::serve` nobody reads ahead, and the keep-alive finds it.
#[tokio::test]
async fn a_client_that_leaves_with_a_request_behind_its_stream_without_serve() {
    let (app, generators, _open) = app();
    let addr = support::serve_plain(app).await;
    let mut client = Client::connect(addr).await;
    client
        .send(b"GET /kept-alive HTTP/1.1\r\nhost: test\r\n\r\nGET /plain/1 HTTP/1.1\r\nhost: test\r\n\r\n")
        .await;
    client.head().await;
    client.expect_chunk().await;
    drop(client);
    within("the keep-alive", generators.until_gone()).await;
}

// Unix sockets

#[tokio::test]
async fn a_unix_socket() {
    let path = std::env::temp_dir().join(format!("sse-hostile-{}", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let (app, generators, _open) = app();
    let shutdown = Shutdown::within(LIMIT);
    let serving = impatient(app).shutdown(shutdown.clone()).serve(listener);
    let serving = tokio::spawn(serving);
    let connect = || async {
        let mut socket = UnixStream::connect(&path).await.unwrap();
        socket
            .write_all(b"GET /clock HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        read_to(&mut socket, "data: 1\n\n").await.unwrap();
        socket
    };
    // One that leaves.
    drop(connect().await);
    generators.until_alive(0).await;
    // One that reads nothing, which has next to no buffer.
    let stalled = connect().await;
    // One that stays until the server stops.
    let stays = connect().await;
    assert_eq!(generators.count().alive, 2);
    shutdown.begin();
    let got = read_out(stays).await;
    let text = String::from_utf8_lossy(&got.bytes);
    assert!(text.contains("\nretry: "), "{text}");
    assert!(text.ends_with("0\r\n\r\n"), "{text}");
    within("the server to stop", serving)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(generators.count().alive, 0);
    drop(stalled);
    std::fs::remove_file(&path).unwrap();
}

async fn read_to(socket: &mut UnixStream, what: &str) -> io::Result<()> {
    let mut text = String::new();
    while !text.contains(what) {
        let mut some = [0; 1024];
        let len = within("the server to write", socket.read(&mut some)).await?;
        assert!(len > 0, "expected {what:?} after {text:?}");
        text += &String::from_utf8_lossy(&some[..len]);
    }
    Ok(())
}
