//! A server that stops ends its streams first: cleanly, at spread moments, and in time.

use std::{
    collections::BTreeSet,
    future::pending,
    net::SocketAddr,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use axum::{Router, extract::State};
use bytes::Bytes;
use sse_runtime::{CloseReason, Connection, RouterExt as _, Shutdown, Stream, sse_endpoint};
use support::{Client, Generators, server_of, within};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStdout, Command},
    task::JoinSet,
};

#[sse_endpoint("/quiet", retry = "10s")]
async fn quiet(State(generators): State<Generators>) -> impl Stream<Item = u32> {
    let _running = generators.enter();
    yield_!(1);
    pending::<()>().await;
}

#[sse_endpoint("/hot")]
async fn hot(State(generators): State<Generators>) -> impl Stream<Item = u32> {
    let _running = generators.enter();
    loop {
        std::future::ready(()).await;
        if generators.count().alive == 0 {
            yield_!(1);
        }
    }
}

/// Longer than a stream that closes would be left, in a drain time of 5 s.
const FINITE: Duration = Duration::from_millis(4_200);

/// Answered by a method that nobody asks twice with, so it runs on.
#[sse_endpoint("/finite", method = POST)]
async fn finite(State(generators): State<Generators>) -> impl Stream<Item = &'static str> {
    let _running = generators.enter();
    yield_!("first");
    tokio::time::sleep(FINITE).await;
    yield_!("last");
}

#[sse_endpoint("/never", on_shutdown = "finish", allow(finish_without_end))]
async fn never(State(generators): State<Generators>) -> impl Stream<Item = u32> {
    let _running = generators.enter();
    loop {
        yield_!(1);
        pending::<()>().await;
    }
}

/// `axum::serve`, with the layer and the signal; ready when the server has ended.
struct Plain {
    addr: SocketAddr,
    shutdown: Shutdown,
    generators: Generators,
    served: JoinSet<std::io::Result<()>>,
}

impl Plain {
    async fn start(drain: Duration) -> Self {
        let shutdown = Shutdown::within(drain);
        let generators = Generators::new();
        let app = Router::new()
            .sse(quiet)
            .sse(hot)
            .sse(finite)
            .sse(never)
            .layer(shutdown.clone())
            .with_state(generators.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let begun = shutdown.clone();
        let mut served = JoinSet::new();
        served.spawn(async move {
            axum::serve(listener, app)
                .with_graceful_shutdown(async move { begun.on_signal().await.unwrap() })
                .await
        });
        Self {
            addr,
            shutdown,
            generators,
            served,
        }
    }

    /// Until the server has ended, which says that no connection is left.
    async fn ended(mut self) {
        let served = within("the server to end", self.served.join_next()).await;
        served.unwrap().unwrap().unwrap();
        self.generators.until_alive(0).await;
    }
}

/// Reads a stream up to its clean end; the last frame.
async fn to_the_end(client: &mut Client) -> String {
    let mut last = String::new();
    while let Some(chunk) = client.chunk().await.unwrap() {
        last = chunk;
    }
    last
}

/// The milliseconds of a frame that holds a `retry` and nothing else.
fn retry(frame: &str) -> u64 {
    let retry = frame
        .strip_prefix("retry: ")
        .and_then(|rest| rest.strip_suffix('\n'));
    let retry = retry.unwrap_or_else(|| panic!("expected a last `retry`, found {frame:?}"));
    retry.parse().unwrap()
}

#[tokio::test]
async fn streams_end_cleanly_at_spread_moments() {
    const CLIENTS: usize = 200;
    const DRAIN: Duration = Duration::from_secs(2);

    let server = Plain::start(DRAIN).await;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let mut client = Client::get(server.addr, "/quiet").await;
        clients.spawn(async move {
            client.head().await;
            let last = to_the_end(&mut client).await;
            (Instant::now(), retry(&last))
        });
    }
    server.generators.until_started(CLIENTS).await;
    assert!(!server.shutdown.has_begun());

    let start = Instant::now();
    server.shutdown.begin();
    let ends = within("the streams to end", clients.join_all()).await;
    server.ended().await;

    let moments: Vec<Duration> = ends.iter().map(|(at, _)| *at - start).collect();
    let (first, last) = (moments.iter().min().unwrap(), moments.iter().max().unwrap());
    assert!(
        *last - *first > DRAIN / 4,
        "they ended together, from {first:?} to {last:?}"
    );
    let retries: BTreeSet<u64> = ends.iter().map(|(_, retry)| *retry).collect();
    assert!(
        retries.len() > CLIENTS / 2,
        "they come back together: {retries:?}"
    );
    // Around the ten seconds of the endpoint.
    assert!(
        retries.iter().all(|retry| (5_000..=15_000).contains(retry)),
        "{retries:?}"
    );
}

#[tokio::test]
async fn a_stream_that_may_finish_does() {
    let server = Plain::start(Duration::from_secs(5)).await;
    let mut client = Client::post(server.addr, "/finite", 0, b"").await;
    client.head().await;
    assert_eq!(client.expect_chunk().await, "data: \"first\"\n\n");
    server.shutdown.begin();
    assert_eq!(client.expect_chunk().await, "data: \"last\"\n\n");
    assert_eq!(client.chunk().await, Ok(None));
    server.ended().await;
}

#[tokio::test]
async fn a_stream_that_never_finishes_ends_with_the_drain_time() {
    let server = Plain::start(Duration::from_millis(500)).await;
    let mut client = Client::get(server.addr, "/never").await;
    client.head().await;
    client.expect_chunk().await;
    let start = Instant::now();
    server.shutdown.begin();
    retry(&to_the_end(&mut client).await);
    assert!(start.elapsed() >= Duration::from_millis(500));
    server.ended().await;
}

#[tokio::test]
async fn a_generator_that_never_waits_ends_too() {
    let server = Plain::start(Duration::from_millis(100)).await;
    let mut client = Client::get(server.addr, "/hot").await;
    client.head().await;
    server.generators.until_started(1).await;
    server.shutdown.begin();
    retry(&to_the_end(&mut client).await);
    server.ended().await;
}

#[tokio::test]
async fn a_stream_that_begins_while_the_server_stops_ends_with_it() {
    let server = Plain::start(Duration::from_millis(300)).await;
    // The server closes no connection in the middle of a request.
    let mut late = Client::connect(server.addr).await;
    late.send(b"GET /quiet HTTP/1.1\r\nhost: test\r\n").await;
    let mut early = Client::get(server.addr, "/quiet").await;
    early.head().await;
    server.shutdown.begin();
    retry(&to_the_end(&mut early).await);
    late.send(b"\r\n").await;
    // It is answered, or the connection is closed: either way nothing is left that the server would wait for.
    let _ = late.rest().await;
    server.ended().await;
}

/// A server in a process of its own.
struct Process {
    child: Child,
    addr: SocketAddr,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    async fn start(drain_delay: &str, drain: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_server"))
            .args([drain_delay, drain])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = within("the server to start", lines.next_line())
            .await
            .unwrap();
        let addr = line.unwrap().parse().unwrap();
        Self { child, addr, lines }
    }

    async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("a process that runs").to_string();
        let killed = Command::new("kill").args(["-s", name, &pid]).status().await;
        assert!(killed.unwrap().success());
    }

    /// The listener is closed once the server drains.
    async fn until_it_accepts_nobody(&self) {
        within("the listener to close", async {
            while TcpStream::connect(self.addr).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    async fn exit(&mut self) -> ExitStatus {
        within("the process to end", self.child.wait())
            .await
            .unwrap()
    }

    async fn status(&self, path: &str) -> String {
        Client::get(self.addr, path).await.head().await.status_line
    }
}

/// What the system does by itself, since nobody listens.
#[tokio::test]
async fn signal_ends_process_without_signals() {
    use std::os::unix::process::ExitStatusExt as _;

    for (name, number) in [("TERM", 15), ("INT", 2)] {
        let mut server = Process::start("no-signals", "5000").await;
        let _client = Client::get(server.addr, "/quiet").await.head().await;
        server.signal(name).await;
        assert_eq!(server.exit().await.signal(), Some(number));
    }
}

/// SIGTERM to a server with 1,000 streams that would go on for ever, and one that finishes.
async fn drains_and_exits_with_success(drain_delay: &str) {
    const CLIENTS: usize = 1_000;
    let mut server = Process::start(drain_delay, "2000").await;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let mut client = Client::get(server.addr, "/quiet").await;
        client.head().await;
        client.expect_chunk().await;
        clients.spawn(async move {
            let retry = retry(&to_the_end(&mut client).await);
            (Instant::now(), retry)
        });
    }
    let mut finite = Client::get(server.addr, "/finite/700").await;
    finite.head().await;
    finite.expect_chunk().await;

    let start = Instant::now();
    server.signal("TERM").await;
    assert_eq!(finite.expect_chunk().await, "data: \"last\"\n\n");
    assert_eq!(finite.chunk().await, Ok(None));
    let ends = within("the streams to end", clients.join_all()).await;
    assert!(server.exit().await.success());
    let took = start.elapsed();
    assert!(
        took < Duration::from_millis(200 + 2_000 + 1_000),
        "took {took:?}"
    );
    assert_eq!(ends.len(), CLIENTS);
    // When each is back: nowhere near together.
    let back = ends
        .iter()
        .map(|(at, retry)| *at + Duration::from_millis(*retry));
    let (first, last) = (back.clone().min().unwrap(), back.max().unwrap());
    assert!(last - first > Duration::from_secs(2), "{:?}", last - first);
}

#[tokio::test]
async fn sigterm_drains_and_exits_with_success() {
    drains_and_exits_with_success("200").await;
}

#[tokio::test]
async fn sigterm_drains_a_plain_axum_serve() {
    drains_and_exits_with_success("plain").await;
}

#[tokio::test]
async fn the_server_waits_for_close_hooks() {
    let mut server = Process::start("0", "100").await;
    let mut client = Client::get(server.addr, "/hooked").await;
    client.head().await;
    client.expect_chunk().await;
    server.signal("TERM").await;
    retry(&to_the_end(&mut client).await);
    assert!(server.exit().await.success());
    let said = within("the hook", server.lines.next_line()).await.unwrap();
    assert_eq!(said.as_deref(), Some("shutdown"));
}

#[tokio::test]
async fn sigterm_is_told_to_the_load_balancer_before_anybody_is_sent_away() {
    let mut server = Process::start("60000", "100").await;
    assert_eq!(server.status("/readyz").await, "HTTP/1.1 200 OK");
    let mut early = Client::get(server.addr, "/quiet").await;
    early.head().await;
    early.expect_chunk().await;

    server.signal("TERM").await;
    within("the probe to fail", async {
        while server.status("/readyz").await != "HTTP/1.1 503 Service Unavailable" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // It goes on accepting, and the streams go on.
    let mut late = Client::get(server.addr, "/quiet").await;
    assert_eq!(late.head().await.status_line, "HTTP/1.1 200 OK");

    // A second signal ends the wait, and everything else.
    server.signal("TERM").await;
    assert!(server.exit().await.success());
}

#[tokio::test]
async fn a_person_at_a_terminal_does_not_wait() {
    let mut server = Process::start("60000", "60000").await;
    let mut clients = Vec::new();
    // Over the whole drain time, some of them would take longer than this test has patience.
    for _ in 0..20 {
        let mut client = Client::get(server.addr, "/quiet").await;
        client.head().await;
        client.expect_chunk().await;
        clients.push(client);
    }
    server.signal("INT").await;
    for client in &mut clients {
        retry(&to_the_end(client).await);
    }
    assert!(server.exit().await.success());
}

#[tokio::test]
async fn a_second_signal_ends_what_runs_on() {
    let mut server = Process::start("0", "60000").await;
    let mut client = Client::get(server.addr, "/finite/3600000").await;
    client.head().await;
    client.expect_chunk().await;
    server.signal("TERM").await;
    server.until_it_accepts_nobody().await;
    server.signal("TERM").await;
    assert!(server.exit().await.success());
}

/// A local whose destructor takes a while.
struct Slow;

impl Drop for Slow {
    fn drop(&mut self) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn hooks_run_of_streams_that_are_left_behind_on_http2() {
    #[sse_endpoint("/hooked")]
    async fn hooked(
        connection: Connection,
        State(generators): State<Generators>,
    ) -> impl Stream<Item = u32> {
        let _running = (generators.enter(), Slow);
        let hook = generators.enter();
        connection.on_close(|reason| async move {
            // Who did not say so keeps its guard, and is counted.
            if reason != CloseReason::Shutdown {
                std::mem::forget(hook);
            }
        });
        for number in 0.. {
            yield_!(number);
            tokio::task::yield_now().await;
        }
    }

    const STREAMS: usize = 8;
    let generators = Generators::new();
    let app = Router::new().sse(hooked).with_state(generators.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let shutdown = Shutdown::within(Duration::from_millis(50));
    let server = server_of(app).shutdown(shutdown.clone());
    let served = tokio::spawn(server.serve(listener));

    // Takes no byte of any stream: hyper does not ask for them, and they do not notice that they are to end.
    let socket = TcpStream::connect(addr).await.unwrap();
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(0);
    let (mut send, connection) = builder.handshake::<_, Bytes>(socket).await.unwrap();
    tokio::spawn(connection);
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let request = http::Request::get("http://test/hooked").body(()).unwrap();
        streams.push(send.send_request(request, true).unwrap().0);
    }
    generators.until_started(2 * STREAMS).await;
    shutdown.begin();
    within("the server to end", served).await.unwrap().unwrap();
    assert_eq!(generators.count().alive, 0);
}

#[tokio::test]
async fn hooks_run_after_a_second_signal_too() {
    let mut server = Process::start("0", "60000").await;
    let mut client = Client::get(server.addr, "/hooked-finite").await;
    client.head().await;
    client.expect_chunk().await;
    server.signal("TERM").await;
    server.until_it_accepts_nobody().await;
    server.signal("TERM").await;
    assert!(server.exit().await.success());
    let said = within("the hook", server.lines.next_line()).await.unwrap();
    assert_eq!(said.as_deref(), Some("shutdown"));
}

#[tokio::test]
async fn half_a_request_does_not_keep_a_plain_axum_serve() {
    let mut server = Process::start("plain", "100").await;
    let mut half = Client::connect(server.addr).await;
    half.send(b"GET /quiet HTTP/1.1\r\nhost:").await;
    // It has been accepted when another has been answered.
    assert_eq!(server.status("/id").await, "HTTP/1.1 200 OK");
    server.signal("TERM").await;
    assert!(server.exit().await.success());
}

#[tokio::test]
async fn a_plain_axum_serve_ends_at_a_second_signal() {
    let mut server = Process::start("plain", "60000").await;
    let mut client = Client::get(server.addr, "/finite/3600000").await;
    client.head().await;
    client.expect_chunk().await;
    server.signal("TERM").await;
    server.until_it_accepts_nobody().await;
    server.signal("INT").await;
    assert!(server.exit().await.success());
}

/// Whoever drops it may want its address at once.
#[tokio::test]
async fn a_server_that_is_dropped_has_left_its_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let connecting = within("the server to accept", async {
        let mut client = Client::get(addr, "/nothing").await;
        client.head().await
    });
    tokio::select! {
        _ = server_of(Router::new()).serve(listener) => panic!("nobody has stopped it"),
        head = connecting => assert!(head.status_line.contains("404")),
    }
    std::net::TcpListener::bind(addr).unwrap();
}
