//! Measures the CPU time that a gateway needs to relay an event, compared with passing the bytes on
//! unread and with parsing and encoding every event. The upstream and the client run in other
//! processes, so only the gateway is measured. Linux only.
//!
//! `cargo bench -p benches --bench relay`

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark prints its results and panics if it cannot run"
)]

use std::{
    convert::Infallible,
    env, fs,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{
        IntoResponse,
        sse::{self, KeepAlive, Sse},
    },
    routing::get,
};
use eventsource_stream::Eventsource as _;
use serde_json::Value;
use sse_runtime::{Server, SseRouterExt as _, Stream, relay, sse_endpoint};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_stream::StreamExt as _;

/// The gateways that are compared: the relay and its peers.
const PATHS: [&str; 3] = ["/relay", "/pass", "/parse"];

const ROUNDS: usize = 25;

/// The numbers of events that the upstream sends per write.
const BATCHES: [usize; 2] = [1, 50];

/// The number of writes per stream, made by the upstream or, for `/parse`, by the gateway. All
/// streams have the same number, so that they take about the same time.
const WRITES: usize = 80_000;

/// An event as a language model sends it.
const EVENT: &str = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\
    \"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\"finish_reason\":null}]}\n\n";

/// The most CPU time that relaying may take, as a multiple of passing the bytes on unread.
const BAR_OF_PASSING: f64 = 1.3;

/// The most CPU time that relaying may take, as a multiple of parsing and encoding. With one event
/// per write, even `Body::from_stream` misses this bar, because of the system calls.
const BAR_OF_PARSING: f64 = 0.5;

#[derive(Clone)]
struct Upstream(SocketAddr);

impl Upstream {
    /// Returns the bytes of the upstream's stream. There is no HTTP client, because it would add
    /// the same CPU time to every gateway.
    fn bytes(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        async_stream::try_stream! {
            let mut socket = tokio::net::TcpStream::connect(self.0).await?;
            socket.write_all(b"go").await?;
            let mut buffer = bytes_mut(16 * 1024);
            while socket.read_buf(&mut buffer).await? > 0 {
                yield buffer.split().freeze();
                buffer.reserve(16 * 1024);
            }
        }
    }
}

fn bytes_mut(capacity: usize) -> bytes::BytesMut {
    bytes::BytesMut::with_capacity(capacity)
}

#[sse_endpoint("/relay")]
async fn relays(State(upstream): State<Upstream>) -> impl Stream<Item = Value> {
    yield_all!(relay(upstream.bytes()).abort_on_error());
}

async fn passes(State(upstream): State<Upstream>) -> impl IntoResponse {
    let headers = [(header::CONTENT_TYPE, "text/event-stream")];
    (headers, Body::from_stream(upstream.bytes()))
}

async fn parses(
    State(upstream): State<Upstream>,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let events = Box::pin(upstream.bytes()).eventsource();
    let events = events.map(|event| {
        let event = event.expect("a valid stream");
        Ok(sse::Event::default().data(event.data))
    });
    // `relays` sends keep-alives too.
    Sse::new(events).keep_alive(KeepAlive::default())
}

/// Serves the gateway and prints its address.
fn gateway(upstream: SocketAddr) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let app = Router::new()
            .sse(relays)
            .route("/pass", get(passes))
            .route("/parse", get(parses))
            .with_state(Upstream(upstream));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        Server::new(app).serve(listener).await
    })
}

/// Sends `count` events to every client, `batch` of them in each write.
fn upstream(batch: usize, count: usize) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.expect("a connection");
            socket.set_nodelay(true).expect("a socket");
            socket.read_exact(&mut [0; 2]).expect("the request");
            let events = EVENT.repeat(batch);
            for _ in 0..count / batch {
                socket.write_all(events.as_bytes()).expect("a reader");
                if batch == 1 {
                    // Lets the gateway read the events one by one.
                    std::thread::yield_now();
                }
            }
        }
    });
    Ok(address)
}

/// CPU time in seconds. Its resolution is 10 ms.
#[derive(Clone, Copy, Default)]
struct CpuTime {
    user: f64,
    system: f64,
}

impl CpuTime {
    fn per_event(self, events: usize) -> Self {
        Self {
            user: self.user / events as f64,
            system: self.system / events as f64,
        }
    }

    fn total(self) -> f64 {
        self.user + self.system
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

struct Gateway {
    process: Child,
    address: SocketAddr,
}

impl Gateway {
    fn start(upstream: SocketAddr) -> io::Result<Self> {
        let mut process = Command::new(env::current_exe()?)
            .env("UPSTREAM", upstream.to_string())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = process.stdout.as_mut().expect("a pipe");
        io::BufRead::read_line(&mut io::BufReader::new(stdout), &mut line)?;
        let address = line.trim().parse().expect("an address");
        Ok(Self { process, address })
    }

    /// Returns the CPU time used so far.
    fn cpu(&self) -> CpuTime {
        let file = |name| fs::read_to_string(format!("/proc/{}/{name}", self.process.id()));
        let stat = file("stat").expect("a Linux system");
        let (_, fields) = stat.rsplit_once(") ").expect("the name");
        let fields: Vec<&str> = fields.split(' ').collect();
        let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
        CpuTime {
            user: ticks(11) / 100.0,
            system: ticks(12) / 100.0,
        }
    }

    /// Reads a whole stream of `count` events and returns the CPU time that the gateway used for it.
    fn read(&self, path: &str, count: usize) -> io::Result<CpuTime> {
        let before = self.cpu();
        let mut socket = TcpStream::connect(self.address)?;
        socket.set_read_timeout(Some(Duration::from_secs(60)))?;
        // Over HTTP/1.0, the body is not split into chunks.
        write!(socket, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut buffer = vec![0; 64 * 1024];
        let mut braces = 0;
        loop {
            let received = match socket.read(&mut buffer)? {
                0 => break,
                length => &buffer[..length],
            };
            braces += received.iter().filter(|&&byte| byte == b'{').count();
        }
        let expected = count * EVENT.matches('{').count();
        assert_eq!(braces, expected, "{path}");
        let after = self.cpu();
        Ok(CpuTime {
            user: after.user - before.user,
            system: after.system - before.system,
        })
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // The process may have ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn main() -> io::Result<()> {
    if let Ok(upstream) = env::var("UPSTREAM") {
        return gateway(upstream.parse().expect("an address"));
    }
    // `cargo test` runs benchmarks too.
    if !env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    let mut is_met = true;
    for batch in BATCHES {
        is_met &= compare(batch)?;
    }
    println!("all bars met: {is_met}");
    Ok(())
}

/// Compares the gateways and returns whether the bars are met.
fn compare(batch: usize) -> io::Result<bool> {
    // `parses` sends each event in a write of its own, so its streams have fewer events.
    let counts = [WRITES * batch, WRITES * batch, WRITES];
    let mut gateways = Vec::new();
    for count in counts {
        gateways.push(Gateway::start(upstream(batch, count)?)?);
    }
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let mut round = [CpuTime::default(); 3];
        for at in 0..3 {
            let time = gateways[at].read(PATHS[at], counts[at])?;
            round[at] = time.per_event(counts[at]);
        }
        rounds.push(round);
    }
    // A single stream takes too few clock ticks to say how many of them were in user mode.
    let mean_user = |at: usize| {
        let sum: f64 = rounds.iter().map(|round| round[at].user).sum();
        sum / ROUNDS as f64
    };
    for (at, path) in PATHS.iter().enumerate() {
        println!(
            "{path}, {batch} events per write: {:.0} ns per event, {:.0} of them in user mode",
            median(rounds.iter().map(|round| round[at].total())) * 1e9,
            mean_user(at) * 1e9,
        );
    }
    let mut is_met = true;
    for (peer, bar) in [(1, BAR_OF_PASSING), (2, BAR_OF_PARSING)] {
        // The speed of the machine varies less within a round than between rounds.
        let ratios = rounds
            .iter()
            .map(|round| round[0].total() / round[peer].total());
        let ratio = median(ratios);
        let user = mean_user(0) / mean_user(peer);
        let verdict = if ratio <= bar { "met" } else { "missed" };
        println!(
            "/relay to {}, {batch} events per write: {ratio:.2} (at most {bar}: {verdict}), in user mode {user:.2}",
            PATHS[peer],
        );
        is_met &= ratio <= bar;
    }
    Ok(is_met)
}
