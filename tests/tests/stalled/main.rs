//! Clients that take nothing, or too slowly, or have vanished: they are given up, and nobody else notices.
#![allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping"
)]

use std::{
    fs,
    future::pending,
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr},
    pin::pin,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::Request,
    middleware::{Next, from_fn},
    response::Response,
    routing::get,
};
use h2::{Reason, RecvStream, client::SendRequest};
use sse_runtime::{CloseReason, Connection, RouterExt as _, Server, Stream, Text, sse_endpoint};
use support::{Client, Generators, serve_as, server_of, within};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::{interval, sleep},
};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};

/// How long a client may take nothing here.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Longer than any test: not what a test is about.
const NEVER: Duration = Duration::from_secs(600);

/// What a busy machine may be late by.
const LATE: Duration = Duration::from_secs(2);

/// What the handlers share with the test.
#[derive(Clone)]
struct Told {
    generators: Generators,
    closed: mpsc::UnboundedSender<Closed>,
}

/// A stream that has ended.
#[derive(Debug)]
struct Closed {
    /// What its client asked for.
    path: &'static str,
    reason: CloseReason,
    /// What its generator had yielded, in bytes, and how long ago it did so last.
    yielded: usize,
    idle: Duration,
    /// Generators that were left when the hook ran.
    alive: usize,
}

/// What one generator has yielded.
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

    /// Tells of the end of the stream.
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

/// As much as anybody takes, in events of 1,000 bytes.
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

/// One event that no buffer of the system has room for.
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

/// One event, and comments.
#[sse_endpoint("/kept-alive", keep_alive = "1s")]
async fn kept_alive(connection: Connection, State(told): State<Told>) -> impl Stream<Item = u32> {
    let _meter = told.watch(&connection, "/kept-alive");
    let _running = told.generators.enter();
    yield_!(1);
    pending::<()>().await;
}

/// One event, and nothing.
#[sse_endpoint("/quiet", keep_alive = "off")]
async fn quiet(connection: Connection, State(told): State<Told>) -> impl Stream<Item = u32> {
    let _meter = told.watch(&connection, "/quiet");
    let _running = told.generators.enter();
    yield_!(1);
    pending::<()>().await;
}

/// A server of all of these, which gives up clients that take nothing, and no others.
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

/// That a stream was held up, given up after the limit, and soon after it.
fn assert_stalled(closed: &Closed) {
    assert_eq!(closed.reason, CloseReason::Stalled, "{closed:?}");
    assert!(
        closed.idle >= SEND_TIMEOUT * 9 / 10,
        "too early: {closed:?}"
    );
    assert!(closed.idle < SEND_TIMEOUT + LATE, "too late: {closed:?}");
}

// HTTP/1

/// Reads what is left up to the end of the connection, and how that came.
async fn read_left(client: Client) -> (usize, io::Result<()>) {
    let (mut socket, received) = client.into_parts();
    let mut len = received.len();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match within("the server to end it", socket.read(&mut chunk)).await {
            Ok(0) => return (len, Ok(())),
            Ok(more) => len += more,
            Err(error) => return (len, Err(error)),
        }
    }
}

/// Whether the system still knows the server's side of a connection, in whatever state.
fn is_known(server: SocketAddr, client: SocketAddr) -> bool {
    let port = |text: &str| {
        let (_, port) = text.split_once(':')?;
        u16::from_str_radix(port, 16).ok()
    };
    let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
    sockets.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, peer) = (fields.next().and_then(port), fields.next().and_then(port));
        local == Some(server.port()) && peer == Some(client.port())
    })
}

/// That a client that reads nothing is given up, and that the system forgets it at once.
async fn stall(path: &'static str) {
    let (server, _told, mut reasons) = server();
    let addr = serve_as(server).await;
    let mut client = Client::connect_narrow(addr).await;
    client
        .send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes())
        .await;
    let closed = next(&mut reasons).await;
    assert_stalled(&closed);
    assert_eq!(closed.path, path);
    assert_eq!(closed.alive, 0, "the generator was there: {closed:?}");
    if path != "/huge" {
        // The systems' buffers, and next to nothing of our own.
        assert!(closed.yielded < 1024 * 1024, "{closed:?}");
    }

    let (socket, received) = client.into_parts();
    let local = socket.local_addr().unwrap();
    let mut client = Client::over(socket);
    assert_eq!(received, b"");
    let head = client.head().await;
    assert_eq!(head.status_line, "HTTP/1.1 200 OK");
    let (left, end) = read_left(client).await;
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    // What the server's system had not sent is forgotten: what the client's had taken is left.
    assert!(left < 256 * 1024, "{left} bytes were still sent");
    assert!(!is_known(addr, local), "the system keeps the connection");
}

#[tokio::test]
async fn a_client_that_stops_reading() {
    tokio::join!(stall("/each"), stall("/ready"), stall("/huge"));
}

/// Small events, each of which goes out by itself.
#[sse_endpoint("/drips", flush = "ready", max_duration = "1s", keep_alive = "off")]
async fn drips(
    connection: Connection,
    State(told): State<Told>,
) -> impl Stream<Item = Text<String>> {
    let _meter = told.watch(&connection, "/drips");
    let _running = told.generators.enter();
    loop {
        tokio::task::yield_now().await;
        yield_!(Text("x".repeat(EVENT)));
    }
}

/// The same, for who logs out.
#[sse_endpoint("/drips-until", flush = "ready", keep_alive = "off")]
async fn drips_until(
    connection: Connection,
    State(told): State<Told>,
) -> impl Stream<Item = Text<String>> {
    let _meter = told.watch(&connection, "/drips-until");
    let _running = told.generators.enter();
    connection.close_when(sleep(Duration::from_secs(1)));
    loop {
        tokio::task::yield_now().await;
        yield_!(Text("x".repeat(EVENT)));
    }
}

/// Whoever may not stay does not stay longer by not reading.
#[tokio::test]
async fn a_stream_that_is_held_up_ends_when_it_has_to() {
    let (told, mut reasons) = Told::new();
    let app = Router::new()
        .sse(drips)
        .sse(drips_until)
        .with_state(told.clone());
    let server = server_of(app).send_timeout(NEVER).tcp_user_timeout(NEVER);
    let addr = serve_as(server).await;
    for (path, reason) in [
        ("/drips", CloseReason::MaxDuration),
        ("/drips-until", CloseReason::Revoked),
    ] {
        let mut client = Client::connect_narrow(addr).await;
        client
            .send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes())
            .await;
        let closed = next(&mut reasons).await;
        assert_eq!((closed.path, closed.reason), (path, reason));
        assert_eq!(closed.alive, 0, "the generator was there: {closed:?}");
    }
}

/// Longer in all than the limit, and never as long without a byte: what the system holds back for it must not hide that.
#[tokio::test]
async fn a_client_that_reads_slowly_is_not_stalled() {
    let (server, _told, mut reasons) = server();
    let addr = serve_as(server).await;
    // With the buffers that a system has by itself.
    let (mut socket, _) = Client::get(addr, "/each").await.into_parts();
    let start = Instant::now();
    let (mut len, mut chunk) = (0, vec![0; 16 * 1024]);
    while start.elapsed() < SEND_TIMEOUT * 3 {
        len += within("the server to write", socket.read(&mut chunk))
            .await
            .unwrap();
        // 16 KiB each 50 ms.
        let due = Duration::from_micros(len as u64 * 50_000 / (16 * 1024));
        sleep(due.saturating_sub(start.elapsed())).await;
    }
    drop(socket);
    let closed = next(&mut reasons).await;
    assert_eq!(closed.reason, CloseReason::ClientGone, "{closed:?}");
    // And what it got was not old.
    assert!(closed.yielded - len < 1024 * 1024, "{closed:?}");
}

/// The system gives up a client that has no room for too long, as one that has vanished; that is not what it is.
#[tokio::test]
async fn a_client_that_stops_reading_has_not_vanished() {
    let (server, _told, mut reasons) = server();
    // Both limits are the same by default.
    let addr = serve_as(server.tcp_user_timeout(SEND_TIMEOUT)).await;
    let _client = Client::get(addr, "/each").await;
    let closed = next(&mut reasons).await;
    assert_eq!(closed.reason, CloseReason::Stalled, "{closed:?}");
}

// HTTP/2

/// A client of HTTP/2 with so much room for all its streams together, and the task that drives it.
async fn http2(socket: TcpStream, room: u32) -> (SendRequest<bytes::Bytes>, JoinHandle<()>) {
    let (client, connection) = h2::client::Builder::new()
        .initial_connection_window_size(room)
        .handshake(socket)
        .await
        .unwrap();
    let driving = tokio::spawn(async move {
        let _ = connection.await;
    });
    (client.ready().await.unwrap(), driving)
}

async fn http2_get(client: &SendRequest<bytes::Bytes>, path: &str) -> RecvStream {
    let request = Request::get(format!("http://test{path}")).body(()).unwrap();
    let mut client = client.clone().ready().await.unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    within("the head", response).await.unwrap().into_body()
}

/// The next bytes, for which room is made again.
async fn http2_data(stream: &mut RecvStream) -> Option<Result<usize, h2::Error>> {
    let data = within("the next event", stream.data()).await?;
    Some(data.map(|data| {
        let _ = stream.flow_control().release_capacity(data.len());
        data.len()
    }))
}

#[tokio::test]
async fn one_stream_of_many_that_is_not_read() {
    let (server, told, mut reasons) = server();
    let addr = serve_as(server).await;
    let socket = TcpStream::connect(addr).await.unwrap();
    let (client, _driving) = http2(socket, 16 * 1024 * 1024).await;
    let mut others = JoinSet::new();
    for _ in 0..3 {
        let mut stream = http2_get(&client, "/clock").await;
        others.spawn(async move {
            // Until well after the others were given up.
            for _ in 0..3 * SEND_TIMEOUT.as_millis() / TICK.as_millis() {
                http2_data(&mut stream).await.unwrap().unwrap();
            }
        });
    }
    // Nothing is to be taken here, and nothing is waited for.
    let _quiet = http2_get(&client, "/quiet").await;
    let mut unread = Vec::new();
    for path in ["/each", "/ready", "/huge"] {
        unread.push(http2_get(&client, path).await);
    }
    for _ in 0..unread.len() {
        let closed = next(&mut reasons).await;
        assert_stalled(&closed);
        assert!(
            closed.path == "/huge" || closed.yielded < 256 * 1024,
            "{closed:?}"
        );
    }
    assert_eq!(told.generators.count().alive, 4);
    for mut stream in unread {
        let reset = loop {
            match http2_data(&mut stream).await {
                Some(Ok(_)) => {}
                other => break other,
            }
        };
        let error = reset.expect("no end, as if that were all").unwrap_err();
        assert!(error.is_reset() && error.is_remote(), "{error:?}");
        assert_eq!(error.reason(), Some(Reason::CANCEL));
    }
    while let Some(other) = others.join_next().await {
        other.unwrap();
        assert_eq!(next(&mut reasons).await.path, "/clock");
    }
    assert_eq!(told.generators.count().alive, 1);
}

/// Of its streams none is asked for a byte.
#[tokio::test]
async fn a_client_that_never_has_room_for_a_stream() {
    let (server, told, mut reasons) = server();
    let addr = serve_as(server).await;
    let socket = TcpStream::connect(addr).await.unwrap();
    let (client, connection) = h2::client::Builder::new()
        .initial_window_size(0)
        .handshake::<_, bytes::Bytes>(socket)
        .await
        .unwrap();
    let _driving = tokio::spawn(connection);
    let _stream = http2_get(&client, "/each").await;
    let closed = next(&mut reasons).await;
    assert_eq!(closed.reason, CloseReason::Stalled, "{closed:?}");
    assert_eq!(told.generators.count().alive, 0);
}

/// A layer that runs the handler in a task of its own, as tower's `Buffer` does.
async fn elsewhere(request: Request<Body>, next: Next) -> Response {
    tokio::spawn(next.run(request)).await.unwrap()
}

/// A layer that has a task forward the body.
async fn forwarded(request: Request<Body>, next: Next) -> Response {
    let (parts, body) = next.run(request).await.into_parts();
    let (sender, receiver) = mpsc::channel(1);
    let mut frames = body.into_data_stream();
    tokio::spawn(async move {
        while let Some(frame) = frames.next().await {
            if sender.send(frame).await.is_err() {
                break;
            }
        }
    });
    let body = Body::from_stream(ReceiverStream::new(receiver));
    Response::from_parts(parts, body)
}

/// A layer that lets a frame through now and then, each after more than the limit.
async fn throttled(request: Request<Body>, next: Next) -> Response {
    let (parts, body) = next.run(request).await.into_parts();
    let frames = body.into_data_stream().throttle(SEND_TIMEOUT * 3 / 2);
    Response::from_parts(parts, Body::from_stream(frames))
}

/// Whatever layers do with the body, it is seen that the client takes nothing of the response.
#[tokio::test]
async fn a_stream_that_its_client_leaves_unread_behind_layers() {
    let (told, mut reasons) = Told::new();
    let app = Router::new()
        .nest(
            "/elsewhere",
            Router::new().sse(each).layer(from_fn(elsewhere)),
        )
        .nest(
            "/forwarded",
            Router::new().sse(each).layer(from_fn(forwarded)),
        )
        .with_state(told.clone());
    let server = server_of(app).send_timeout(SEND_TIMEOUT);
    let addr = serve_as(server).await;
    let socket = TcpStream::connect(addr).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    let _driving = tokio::spawn(connection);
    let _unread = [
        http2_get(&client, "/elsewhere/each").await,
        http2_get(&client, "/forwarded/each").await,
    ];
    for _ in 0..2 {
        let closed = next(&mut reasons).await;
        assert_eq!(closed.reason, CloseReason::Stalled, "{closed:?}");
    }
    assert_eq!(told.generators.count().alive, 0);
}

/// It is the layer that waits, and not its client.
#[tokio::test]
async fn a_stream_that_a_layer_holds_back_is_not_stalled() {
    let (told, mut reasons) = Told::new();
    let app = Router::new()
        .sse(each)
        .layer(from_fn(throttled))
        .with_state(told.clone());
    let addr = serve_as(server_of(app).send_timeout(SEND_TIMEOUT)).await;
    let socket = TcpStream::connect(addr).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    let _driving = tokio::spawn(connection);
    let mut body = http2_get(&client, "/each").await;
    for _ in 0..3 {
        let data = within("a frame", body.data()).await.unwrap().unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    drop(body);
    let closed = next(&mut reasons).await;
    assert_eq!(closed.reason, CloseReason::ClientGone, "{closed:?}");
}

/// What is no event stream is given up as well.
#[tokio::test]
async fn a_download_that_its_client_leaves_unread() {
    let app = Router::new().route("/zeros", get(async || vec![0; 10_000_000]));
    let addr = serve_as(server_of(app).send_timeout(SEND_TIMEOUT)).await;
    let socket = TcpStream::connect(addr).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    let _driving = tokio::spawn(connection);
    let mut unread = http2_get(&client, "/zeros").await;
    // Up to the client's window, and then the end of it.
    let error = within("the end", async {
        loop {
            match unread.data().await {
                Some(Ok(_)) => {}
                other => return other.unwrap().unwrap_err(),
            }
        }
    })
    .await;
    assert_eq!(error.reason(), Some(Reason::CANCEL));
}

#[tokio::test]
async fn a_connection_of_many_streams_that_is_not_read() {
    let (server, told, mut reasons) = server();
    let addr = serve_as(server).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let socket = socket.connect(addr).await.unwrap();
    let (client, connection) = h2::client::Builder::new()
        .initial_window_size(1024 * 1024)
        .initial_connection_window_size(16 * 1024 * 1024)
        .handshake(socket)
        .await
        .unwrap();
    let mut connection = pin!(connection);
    let streams = async {
        let mut streams = vec![http2_get(&client, "/clock").await];
        for _ in 0..8 {
            streams.push(http2_get(&client, "/each").await);
        }
        streams
    };
    // Nobody reads from the socket after that.
    let streams = tokio::select! {
        streams = streams => streams,
        ended = &mut connection => panic!("the connection ended: {ended:?}"),
    };
    for _ in &streams {
        let closed = next(&mut reasons).await;
        assert_eq!(closed.reason, CloseReason::Stalled, "{closed:?}");
    }
    assert_eq!(told.generators.count().alive, 0);
}

// Many clients

const CLIENTS: usize = 1000;

/// One that takes nothing, among as many as a thousand that do: they all have two seconds' events before it is given up.
#[tokio::test]
async fn nobody_waits_for_a_client_that_stops_reading() {
    let (server, told, mut reasons) = server();
    let addr = serve_as(server.send_timeout(Duration::from_secs(6))).await;
    let (stalls, is_stalling) = watch::channel(false);
    let (served, mut all_served) = mpsc::unbounded_channel();
    let mut others = JoinSet::new();
    for _ in 1..CLIENTS {
        let (is_stalling, served) = (is_stalling.clone(), served.clone());
        let mut client = Client::get(addr, "/clock").await;
        others.spawn(async move {
            client.head().await;
            while !*is_stalling.borrow() {
                client.expect_chunk().await;
            }
            for _ in 0..10 {
                client.expect_chunk().await;
            }
            served.send(()).unwrap();
            loop {
                client.expect_chunk().await;
            }
        });
    }
    told.generators.until_started(CLIENTS - 1).await;
    let mut staller = Client::connect_narrow(addr).await;
    staller
        .send(b"GET /each HTTP/1.1\r\nhost: test\r\n\r\n")
        .await;
    told.generators.until_started(CLIENTS).await;
    stalls.send_replace(true);
    for _ in 1..CLIENTS {
        within("all to have their events", all_served.recv()).await;
    }
    assert!(reasons.try_recv().is_err(), "they waited until it was gone");
    assert_eq!(next(&mut reasons).await.reason, CloseReason::Stalled);
    assert!(others.try_join_next().is_none(), "another one has ended");
    assert_eq!(told.generators.count().alive, CLIENTS - 1);
}

// Peers that vanish

/// A network of its own behind a cable; it and the cable are gone when this is dropped.
struct Elsewhere {
    name: String,
    /// The server's end of the cable, and the address there.
    link: String,
    addr: [u8; 4],
}

fn ip(args: &str) -> Result<(), String> {
    let output = Command::new("ip")
        .args(args.split(' '))
        .output()
        .map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {args}: {}", why.trim()))
}

impl Elsewhere {
    /// # Errors
    ///
    /// Why the system lets nobody have one.
    fn new() -> Result<Self, String> {
        let process = std::process::id();
        // Addresses that are kept for documentation, and four of them for each process.
        let part = u8::try_from(process % 64).unwrap_or_default() * 4;
        let this = Self {
            name: format!("sse-{process}"),
            link: format!("sse{process}a"),
            addr: [192, 0, 2, part + 1],
        };
        let Self { name, link, .. } = &this;
        ip(&format!("netns add {name}"))?;
        ip(&format!(
            "link add {link} type veth peer name cable netns {name}"
        ))?;
        ip(&format!("addr add 192.0.2.{}/30 dev {link}", part + 1))?;
        ip(&format!("link set {link} up"))?;
        ip(&format!(
            "-n {name} addr add 192.0.2.{}/30 dev cable",
            part + 2
        ))?;
        ip(&format!("-n {name} link set cable up"))?;
        Ok(this)
    }

    /// A program there. It is told nothing, and says nothing.
    fn get(&self, url: &str) -> tokio::process::Child {
        tokio::process::Command::new("ip")
            .args(["netns", "exec", &self.name, "curl", "-sN", url])
            .stdout(Stdio::null())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Nobody there hears or says anything any more.
    fn cut(&self) {
        ip(&format!("-n {} link set cable down", self.name)).unwrap();
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // The one takes the other along, unless something in there still runs.
        let _ = ip(&format!("link del {}", self.link));
        let _ = ip(&format!("netns del {}", self.name));
    }
}

#[tokio::test]
async fn a_peer_that_vanishes() {
    let elsewhere = match Elsewhere::new() {
        Ok(elsewhere) => elsewhere,
        Err(reason) => {
            // Past the test's output, which is not shown where a test passes.
            let skipped = format!("\nSKIPPED: a_peer_that_vanishes: {reason}\n");
            io::stderr().write_all(skipped.as_bytes()).unwrap();
            return;
        }
    };
    let (server, told, mut reasons) = server();
    let listener = TcpListener::bind((Ipv4Addr::from(elsewhere.addr), 0)).await;
    let listener = listener.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = server
        .send_timeout(NEVER)
        // Not whole seconds, which is what the system counts in.
        .tcp_user_timeout(Duration::from_millis(1_500));
    tokio::spawn(server.serve(listener));
    let _clients: Vec<_> = ["/kept-alive", "/quiet"]
        .map(|path| elsewhere.get(&format!("http://{addr}{path}")))
        .into();
    told.generators.until_started(2).await;
    // Whoever is there and says nothing is not taken for gone: a quiet client answers the probes.
    sleep(Duration::from_secs(3)).await;
    assert_eq!(told.generators.count().alive, 2);

    elsewhere.cut();
    let cut = Instant::now();
    for _ in 0..2 {
        let closed = next(&mut reasons).await;
        assert_eq!(closed.reason, CloseReason::ClientGone, "{closed:?}");
    }
    // The limit, after a second in which nothing was to be sent.
    assert!(cut.elapsed() < Duration::from_secs(3) + 2 * LATE);
    assert_eq!(told.generators.count().alive, 0);
}

/// One event that takes longer in all than the limit.
#[tokio::test]
async fn a_stream_among_others_that_is_read_slowly_is_not_stalled() {
    let (server, _told, mut reasons) = server();
    let addr = serve_as(server).await;
    let socket = TcpStream::connect(addr).await.unwrap();
    let (client, _driving) = http2(socket, 16 * 1024 * 1024).await;
    let mut stream = http2_get(&client, "/huge").await;
    let start = Instant::now();
    while start.elapsed() < SEND_TIMEOUT * 3 {
        http2_data(&mut stream).await.unwrap().unwrap();
        sleep(SEND_TIMEOUT / 10).await;
    }
    assert!(reasons.try_recv().is_err());
}

/// One event that fits into a few of the server's writes, of which the client takes a little at a time.
#[tokio::test]
async fn small_window_that_is_read_slowly_is_not_stalled() {
    const WINDOW: u32 = 1000;
    let (server, _told, mut reasons) = server();
    let addr = serve_as(server).await;
    let socket = TcpStream::connect(addr).await.unwrap();
    let (client, connection) = h2::client::Builder::new()
        .initial_window_size(WINDOW)
        .handshake(socket)
        .await
        .unwrap();
    let _driving = tokio::spawn(connection);
    let mut stream = http2_get(&client, "/huge").await;
    let start = Instant::now();
    while start.elapsed() < SEND_TIMEOUT * 3 {
        http2_data(&mut stream).await.unwrap().unwrap();
        sleep(SEND_TIMEOUT / 7).await;
    }
    assert!(reasons.try_recv().is_err());
}
