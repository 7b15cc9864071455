//! A server in a separate process that counts its live objects and the hooks that have run.

use std::{
    collections::{BTreeMap, HashSet},
    future::pending,
    panic::panic_any,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{FromRequestParts, Path, State},
    http::{StatusCode, request::Parts},
    routing::{get, post},
};
use cap::Cap;
use sse_runtime::{Connection, Shutdown, Stream, Text, route::MissingConnection, sse_endpoint};
use support::{
    SseRouterExt as _,
    load::{EXPECTED_PANIC, Numbers},
    server_of,
};
use tikv_jemallocator::Jemalloc;
use tokio::{net::TcpSocket, runtime::Handle, sync::watch};

#[global_allocator]
static ALLOCATOR: Cap<Jemalloc> = Cap::new(Jemalloc, usize::MAX);

#[derive(Clone, Default)]
struct Told(Arc<Inner>);

#[derive(Default)]
struct Inner {
    generators: AtomicUsize,
    generators_at_most: AtomicUsize,
    tasks: AtomicUsize,
    panics: Arc<AtomicU64>,
    /// The latest wave whose streams may end.
    wave: watch::Sender<u64>,
    hooks: Mutex<Hooks>,
}

#[derive(Default)]
struct Hooks {
    /// The streams whose hook has not run yet.
    waiting: HashSet<u64>,
    begun: u64,
    run: u64,
    /// The number of times that a hook ran again after its first run.
    again: u64,
    /// The number of hooks that ran while a task of their stream was still alive.
    too_early: u64,
    endings: BTreeMap<String, u64>,
}

/// A guard that counts a generator or a task as alive until it is dropped.
struct Alive(Told, fn(&Inner) -> &AtomicUsize);

impl Told {
    fn hooks(&self) -> MutexGuard<'_, Hooks> {
        self.0.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alive(&self, count: fn(&Inner) -> &AtomicUsize) -> Alive {
        count(&self.0).fetch_add(1, Ordering::Relaxed);
        Alive(self.clone(), count)
    }

    fn generator(&self) -> Alive {
        let alive = self.alive(|inner| &inner.generators);
        let now = self.0.generators.load(Ordering::Relaxed);
        self.0.generators_at_most.fetch_max(now, Ordering::Relaxed);
        alive
    }

    fn numbers(&self) -> Numbers {
        let hooks = self.hooks();
        Numbers {
            generators: self.0.generators.load(Ordering::Relaxed),
            generators_at_most: self.0.generators_at_most.load(Ordering::Relaxed),
            tasks: self.0.tasks.load(Ordering::Relaxed),
            hooks_begun: hooks.begun,
            hooks_run: hooks.run,
            hooks_again: hooks.again,
            hooks_too_early: hooks.too_early,
            panics: self.0.panics.load(Ordering::Relaxed),
            runtime_tasks: Handle::current().metrics().num_alive_tasks(),
            sockets: sockets(),
            resident_kib: resident_kib(),
            allocated: ALLOCATOR.allocated() as u64,
            allocated_at_most: ALLOCATOR.max_allocated() as u64,
            endings: hooks.endings.clone(),
        }
    }

    /// Waits until the streams of this wave may end.
    async fn wave(&self, wave: u64) {
        let mut waves = self.0.wave.subscribe();
        // Waiting cannot fail, because `self` owns the sender.
        let _ = waves.wait_for(|now| *now >= wave).await;
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        (self.1)(&self.0.0).fetch_sub(1, Ordering::Relaxed);
    }
}

fn sockets() -> usize {
    let descriptors = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    let is_socket = |target: &std::path::PathBuf| target.to_string_lossy().starts_with("socket:");
    descriptors
        .flatten()
        .filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok())
        .filter(is_socket)
        .count()
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|line| line.trim().strip_suffix("kB"));
    resident
        .and_then(|kib| kib.trim().parse().ok())
        .unwrap_or_default()
}

/// An extractor that adds a task and a hook to each stream. This extractor runs before the
/// extractors that may fail.
struct Watched(Connection);

impl FromRequestParts<Told> for Watched {
    type Rejection = MissingConnection;

    async fn from_request_parts(parts: &mut Parts, told: &Told) -> Result<Self, MissingConnection> {
        let connection = Connection::from_request_parts(parts, told).await?;
        let cause = parts.uri.path().split('/').nth(2).unwrap_or_default();
        let (cause, id, told) = (cause.to_owned(), connection.id(), told.clone());
        let own = Arc::new(());
        let (alive, owned) = (told.alive(|inner| &inner.tasks), Arc::clone(&own));
        connection.spawn(async move {
            let _alive = (alive, owned);
            pending::<()>().await;
        });
        let mut hooks = told.hooks();
        hooks.begun += 1;
        hooks.waiting.insert(id);
        drop(hooks);
        connection.on_close(move |reason| async move {
            let mut hooks = told.hooks();
            if hooks.waiting.remove(&id) {
                hooks.run += 1;
            } else {
                hooks.again += 1;
            }
            if Arc::strong_count(&own) > 1 {
                hooks.too_early += 1;
            }
            *hooks
                .endings
                .entry(format!("{cause} {reason}"))
                .or_default() += 1;
        });
        Ok(Self(connection))
    }
}

/// The path parameters `cause`, `events`, `pace` and `wave`. The pace is the delay after each
/// event, in microseconds.
type Request = Path<(String, u64, u64, u64)>;

/// An event's number, and the time at which the event was yielded, in microseconds.
type Event = (u64, u64);

fn event(number: u64) -> Event {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap_or_default().as_micros();
    (number, u64::try_from(now).unwrap_or_default())
}

async fn pace(microseconds: u64) {
    if microseconds > 0 {
        tokio::time::sleep(Duration::from_micros(microseconds)).await;
    }
}

/// Makes the connection close the stream if the cause is `expired` or `revoked`.
fn ask(connection: &Connection, cause: &str) {
    match cause {
        "expired" => connection.expires_at(Instant::now()),
        "revoked" => connection.close_when(std::future::ready(())),
        _ => {}
    }
}

#[sse_endpoint("/stream/{cause}/{events}/{pace}/{wave}", on_shutdown = "close")]
async fn stream(
    watched: Watched,
    Path((cause, events, each, wave)): Request,
    State(told): State<Told>,
) -> Result<impl Stream<Item = Result<Event, &'static str>>, StatusCode> {
    let _alive = told.generator();
    // With the cause `failed`, the error must not become a status, so the response must start even
    // if there are no events.
    let is_before = events == 0 && cause != "failed";
    if is_before || cause == "rejected" {
        told.wave(wave).await;
        match cause.as_str() {
            "finished" => return,
            "rejected" => return Err(StatusCode::FORBIDDEN),
            "panicked" => panic_any(EXPECTED_PANIC),
            _ => ask(&watched.0, &cause),
        }
        pending::<()>().await;
    }
    for number in 0..events {
        yield_!(event(number));
        pace(each).await;
    }
    told.wave(wave).await;
    match cause.as_str() {
        "finished" => return,
        "failed" => return Err("failed"),
        "panicked" => panic_any(EXPECTED_PANIC),
        _ => ask(&watched.0, &cause),
    }
    pending::<()>().await;
}

/// Starts immediately and never reads the request body.
#[sse_endpoint(
    "/unread/{cause}/{events}/{pace}/{wave}",
    method = POST,
    on_shutdown = "close"
)]
async fn unread(
    _watched: Watched,
    Path((_, events, each, _)): Request,
    State(told): State<Told>,
) -> impl Stream<Item = Event> {
    let _alive = told.generator();
    for number in 0..events {
        yield_!(event(number));
        pace(each).await;
    }
    pending::<()>().await;
}

/// Starts after the request body has arrived.
#[sse_endpoint(
    "/upload/{cause}/{events}/{pace}/{wave}",
    method = POST,
    on_shutdown = "close"
)]
async fn upload(
    _watched: Watched,
    State(told): State<Told>,
    body: Bytes,
) -> impl Stream<Item = usize> {
    let _alive = told.generator();
    yield_!(body.len());
}

#[sse_endpoint("/short/{cause}/{events}/{pace}/{wave}", max_duration = "500ms")]
async fn short(
    _watched: Watched,
    Path((_, _, each, _)): Request,
    State(told): State<Told>,
) -> impl Stream<Item = Event> {
    let _alive = told.generator();
    let mut number = 0;
    loop {
        yield_!(event(number));
        number += 1;
        pace(each.max(1_000)).await;
    }
}

/// Yields more data than the kernel can buffer for a client that does not read.
#[sse_endpoint("/flood/{cause}/{events}/{pace}/{wave}")]
async fn flood(_watched: Watched, State(told): State<Told>) -> impl Stream<Item = Text<String>> {
    let _alive = told.generator();
    let much = "x".repeat(64 * 1024);
    loop {
        yield_!(Text(much.clone()));
    }
}

/// Counts unexpected panics.
fn count_panics(told: &Told) {
    let (panics, say) = (Arc::clone(&told.0.panics), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref() != Some(&EXPECTED_PANIC) {
            panics.fetch_add(1, Ordering::Relaxed);
            say(panic);
        }
    }));
}

/// Serves until SIGTERM, then prints the final counts.
pub(crate) async fn run(delay: Duration, drain: Duration) -> std::io::Result<()> {
    let told = Told::default();
    // Reserve space so that the set does not grow while the heap is being measured.
    told.hooks().waiting.reserve(8_192);
    count_panics(&told);
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    // Use a large backlog. If the backlog were full, a client would wait a second before retrying
    // its connection attempt.
    let listener = socket.listen(4096)?;
    println!("{}", listener.local_addr()?);
    let census = get(|State(told): State<Told>| async move { Json(told.numbers()) });
    let wave = post(
        |State(told): State<Told>, Path(wave): Path<u64>| async move {
            told.0.wave.send_replace(wave);
        },
    );
    let app = Router::new()
        .sse(stream)
        .sse(unread)
        .sse(upload)
        .sse(short)
        .sse(flood)
        .route("/census", census)
        .route("/wave/{wave}", wave)
        .with_state(told.clone());
    let shutdown = Shutdown::within(drain);
    server_of(app)
        .max_streams(100_000)
        .send_timeout(Duration::from_secs(3))
        .drain_delay(delay)
        .drain(drain)
        .shutdown(shutdown)
        .serve(listener)
        .await?;
    // The runtime still counts the last task as alive for a moment after that task has signalled
    // that it is done.
    let counted_out = async {
        while Handle::current().metrics().num_alive_tasks() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), counted_out).await;
    println!("{}", serde_json::to_string(&told.numbers())?);
    Ok(())
}
