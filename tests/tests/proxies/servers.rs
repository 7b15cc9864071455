//! The servers to which the proxies forward requests.

use std::{
    env,
    future::pending,
    net::SocketAddr,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Html,
    routing::{get, post},
};
use sse_runtime::{Shutdown, Stream, Text, sse_endpoint};
use support::{Generators, SseRouterExt as _, server_of, within};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    sync::{Notify, watch},
    task::AbortHandle,
};

/// State that the endpoints share with the test.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) generators: Generators,
    /// Lets the generator yield its next value.
    pub(crate) next: Arc<Notify>,
    /// The number of `much` events accepted so far.
    pub(crate) taken: Arc<AtomicU32>,
    /// The number of events reported by the browser.
    pub(crate) told: Arc<watch::Sender<usize>>,
    pub(crate) start: Instant,
}

/// Yields the next number only after the test has requested it. A proxy that holds data back until
/// more arrives therefore waits forever.
#[sse_endpoint("/asked", keep_alive = "off")]
pub(crate) async fn asked(State(world): State<World>) -> impl Stream<Item = u32> {
    let _running = world.generators.enter();
    for number in 1.. {
        yield_!(number);
        world.next.notified().await;
    }
}

/// Like `asked`, but for POST requests.
#[sse_endpoint("/asked", method = POST, keep_alive = "off")]
pub(crate) async fn asked_by_post(State(world): State<World>) -> impl Stream<Item = u32> {
    let _running = world.generators.enter();
    for number in 1.. {
        yield_!(number);
        world.next.notified().await;
    }
}

/// Sends one event and then only keep-alives until the test requests the next event.
#[sse_endpoint("/alive", keep_alive = "500ms")]
pub(crate) async fn alive(State(world): State<World>) -> impl Stream<Item = u32> {
    let _running = world.generators.enter();
    yield_!(1);
    world.next.notified().await;
    yield_!(2);
}

/// Sends one event and then nothing until the server shuts down.
#[sse_endpoint("/quiet", keep_alive = "off")]
pub(crate) async fn quiet(State(world): State<World>) -> impl Stream<Item = u32> {
    let _running = world.generators.enter();
    yield_!(1);
    pending::<()>().await;
}

/// The size of each `much` event.
pub(crate) const PIECE: usize = 64 * 1024;

/// The number of `much` events. Together, these events contain more data than a proxy should buffer
/// for a client that does not read.
pub(crate) const PIECES: u32 = 4_096;

/// Yields as much as the server accepts.
#[sse_endpoint("/much")]
pub(crate) async fn much(State(world): State<World>) -> impl Stream<Item = Text<String>> {
    let _running = world.generators.enter();
    for taken in 1..=PIECES {
        yield_!(Text("x".repeat(PIECE)));
        world.taken.store(taken, Ordering::Relaxed);
    }
}

/// The client's address, according to the proxy.
#[sse_endpoint("/address")]
pub(crate) async fn address(headers: HeaderMap) -> impl Stream<Item = Text<String>> {
    let given: Vec<_> = headers.get_all("x-real-ip").iter().collect();
    let given: Result<Vec<_>, _> = given.iter().map(|value| value.to_str()).collect();
    yield_!(Text(given.unwrap_or_default().join(" ")));
}

pub(crate) async fn tell(State(world): State<World>) {
    world.told.send_modify(|told| *told += 1);
}

/// Panics after its first event.
#[sse_endpoint("/broken", keep_alive = "off")]
pub(crate) async fn broken(State(world): State<World>) -> impl Stream<Item = u32> {
    yield_!(1);
    world.next.notified().await;
    panic!("on purpose");
}

/// Yields the time since the test started, in microseconds, each time the test requests a value.
#[sse_endpoint("/stamped", keep_alive = "off")]
pub(crate) async fn stamped(State(world): State<World>) -> impl Stream<Item = u128> {
    loop {
        world.next.notified().await;
        yield_!(world.start.elapsed().as_micros());
    }
}

/// The number of streams that the browser tab opens.
pub(crate) const STREAMS: usize = 50;

/// A page that opens `STREAMS` streams.
pub(crate) const PAGE: &str = "<!doctype html><script>
    for (let stream = 0; stream < 50; stream++) {
        new EventSource('/quiet').onmessage = () => fetch('/told', { method: 'POST' });
    }
</script>";

/// Two servers that run the same app. The servers' addresses replace the addresses in the
/// configuration files.
pub(crate) struct Servers {
    pub(crate) addrs: [SocketAddr; 2],
    /// The first server.
    pub(crate) first: AbortHandle,
    pub(crate) world: World,
    pub(crate) shutdown: Shutdown,
}

impl Servers {
    pub(crate) async fn start() -> Self {
        let shutdown = Shutdown::within(Duration::from_millis(500));
        let world = World {
            generators: Generators::new(),
            next: Arc::new(Notify::new()),
            taken: Arc::new(AtomicU32::new(0)),
            told: Arc::default(),
            start: Instant::now(),
        };
        let app = Router::new()
            .sse(asked)
            .sse(asked_by_post)
            .sse(alive)
            .sse(quiet)
            .sse(much)
            .sse(address)
            .sse(broken)
            .sse(stamped)
            .layer(shutdown.clone())
            .route("/", get(Html(PAGE)))
            .route("/told", post(tell))
            .route("/readyz", get(StatusCode::OK))
            .with_state(world.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addrs = [
            listener.local_addr().unwrap(),
            support::serve(app.clone()).await,
        ];
        let first = tokio::spawn(server_of(app).serve(listener)).abort_handle();
        Self {
            addrs,
            first,
            world,
            shutdown,
        }
    }

    /// Stops the first server and waits until it refuses connections.
    pub(crate) async fn until_first_refuses(&self) {
        self.first.abort();
        within("the listener to close", async {
            while TcpStream::connect(self.addrs[0]).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// A server in a separate process, to which a test can send signals.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) addr: SocketAddr,
}

impl Process {
    pub(crate) async fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_server"))
            // After a SIGTERM, the server keeps accepting connections for another minute but
            // reports that it is not ready.
            .args(["60000", "100"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = within("the server to start", lines.next_line()).await;
        let addr = line.unwrap().unwrap().parse().unwrap();
        Self { child, addr }
    }

    pub(crate) fn id(&self) -> String {
        self.child.id().expect("a running process").to_string()
    }
}
