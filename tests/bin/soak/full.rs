//! The soak test, which runs under full load with random faults and prints a table of the results.

use std::{
    collections::BTreeMap,
    env,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use fastrand::Rng;
use tokio::task::JoinSet;

use support::load::{
    Numbers, Process,
    ending::{CAUSES, Case, Cause, Clients, Gate},
    error_text,
};

/// The number of concurrent clients.
const CLIENTS: usize = 600;

/// The number of clients that stay connected until the server stops.
const STAYING: usize = 200;

/// How much the heap may grow after the warm-up, in bytes.
const SLACK: u64 = 64 * 1024;

/// The number of failures, and the error messages of the first few failures.
#[derive(Default)]
struct Failures {
    count: AtomicU64,
    first: Mutex<Vec<String>>,
}

impl Failures {
    fn add(&self, failure: String) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.len() < 10 {
            first.push(failure);
        }
    }
}

/// The load on the server.
struct Load {
    clients: Arc<Clients>,
    failures: Arc<Failures>,
    streams: Arc<AtomicU64>,
}

impl Load {
    /// Runs the load. Returns the server's counters once every connection has been closed.
    async fn run(
        &mut self,
        time: Duration,
        server: &Process,
        start: &Numbers,
    ) -> Result<Numbers, String> {
        self.clients()?.connect().await?;
        let is_over = Arc::new(AtomicBool::new(false));
        let mut running = JoinSet::new();
        for _ in 0..CLIENTS {
            let (clients, failures) = (Arc::clone(&self.clients), Arc::clone(&self.failures));
            let (streams, is_over) = (Arc::clone(&self.streams), Arc::clone(&is_over));
            let mut rng = Rng::new();
            running.spawn(async move {
                let gate = Gate::new(true);
                while !is_over.load(Ordering::Relaxed) {
                    let result = clients.run(any(&mut rng), &gate).await;
                    streams.fetch_add(1, Ordering::Relaxed);
                    if let Err(failure) = result {
                        failures.add(failure);
                    }
                }
            });
        }
        tokio::time::sleep(time).await;
        is_over.store(true, Ordering::Relaxed);
        while let Some(ended) = running.join_next().await {
            ended.map_err(error_text)?;
        }
        self.clients()?.shared.clear();
        server.settled(start).await
    }

    fn clients(&mut self) -> Result<&mut Clients, String> {
        Arc::get_mut(&mut self.clients).ok_or_else(|| "clients are still running".to_owned())
    }
}

fn any(rng: &mut Rng) -> Case {
    // Keep stalled clients rare, because each of them takes several seconds and uses a few MB of
    // kernel memory.
    let cause = if rng.u32(..500) == 0 {
        Cause::Stalled
    } else {
        CAUSES[rng.usize(..CAUSES.len())]
    };
    Case::random(cause, rng, 100)
}

pub(crate) async fn run(seconds: u64) -> Result<(), String> {
    let begun = Instant::now();
    let program = env::current_exe().map_err(error_text)?;
    let server = Process::start(&program, Duration::from_secs(2)).await?;
    let start = server.census().await?;
    let mut load = Load {
        clients: Arc::new(Clients::unconnected(server.addr)),
        failures: Arc::default(),
        streams: Arc::default(),
    };
    // The server makes its permanent allocations during the warm-up, so later growth of the heap
    // indicates a memory leak.
    let warm_up = Duration::from_secs(seconds) / 5;
    let warm = load.run(warm_up, &server, &start).await?;
    let rest = Duration::from_secs(seconds) - warm_up;
    let end = load.run(rest, &server, &start).await?;

    // Keep some clients connected while the server stops.
    load.clients()?.connect().await?;
    let gate = Arc::new(Gate::new(false));
    let mut staying = JoinSet::new();
    for _ in 0..STAYING {
        let (clients, gate) = (Arc::clone(&load.clients), Arc::clone(&gate));
        let case = Case::random(Cause::Shutdown, &mut Rng::new(), 20);
        staying.spawn(async move { clients.run(case, &gate).await });
    }
    tokio::select! {
        () = gate.until_ready(STAYING) => {}
        Some(result) = staying.join_next() => return Err(format!("{result:?}")),
    }
    server.terminate().await?;
    gate.open();
    while let Some(result) = staying.join_next().await {
        load.streams.fetch_add(1, Ordering::Relaxed);
        if let Err(failure) = result.map_err(error_text)? {
            load.failures.add(failure);
        }
    }
    let stopped = server.ended().await?;
    for failure in stopped.left(&start.stopped()) {
        load.failures.add(failure);
    }
    for failure in stopped.unexplained(false) {
        load.failures.add(failure);
    }
    if end.allocated > warm.allocated + SLACK {
        load.failures.add(format!(
            "the heap grew from {} to {} bytes",
            warm.allocated, end.allocated
        ));
    }
    print(&load, [&start, &warm, &end, &stopped], begun.elapsed());
    match load.failures.count.load(Ordering::Relaxed) {
        0 => Ok(()),
        failures => Err(format!("{failures} failures")),
    }
}

fn print(load: &Load, [start, warm, end, stopped]: [&Numbers; 4], took: Duration) {
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut row = |what: &str, how_many: String| rows.push((what.to_owned(), how_many));
    let received = &load.clients.received;
    row("seconds", took.as_secs().to_string());
    let streams = load.streams.load(Ordering::Relaxed);
    row("streams requested", streams.to_string());
    row("streams started", stopped.hooks_begun.to_string());
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    for (ending, count) in &stopped.endings {
        let reason = ending.split(' ').next_back().unwrap_or_default();
        *reasons.entry(reason).or_default() += count;
    }
    for (reason, count) in reasons {
        row(&format!("  closed: {reason}"), count.to_string());
    }
    row("close hooks run", stopped.hooks_run.to_string());
    let events = received.events.load(Ordering::Relaxed);
    row("events received", events.to_string());
    row(
        "bytes received",
        received.bytes.load(Ordering::Relaxed).to_string(),
    );
    for (name, part) in [("p50", 0.5), ("p99", 0.99)] {
        let delay = received.delays.quantile(part);
        row(&format!("event delay, {name}"), format!("{delay} µs"));
    }
    let then = |most: String, left: String| format!("{most}, {left}");
    row(
        "generators (peak, end)",
        then(
            end.generators_at_most.to_string(),
            stopped.generators.to_string(),
        ),
    );
    row("spawned tasks at the end", stopped.tasks.to_string());
    row(
        "sockets (start, end)",
        format!("{}, {}", start.sockets, stopped.sockets),
    );
    let memory = |of: fn(&Numbers) -> u64| format!("{} / {} / {}", of(start), of(warm), of(end));
    row(
        "resident KiB, start/warm/end",
        memory(|numbers| numbers.resident_kib),
    );
    row(
        "heap bytes, start/warm/end",
        memory(|numbers| numbers.allocated),
    );
    row("heap bytes, peak", end.allocated_at_most.to_string());
    let failures = &load.failures;
    row(
        "failures",
        failures.count.load(Ordering::Relaxed).to_string(),
    );
    for (what, how_many) in rows {
        println!("{what:30} {how_many}");
    }
    let first = failures.first.lock();
    for failure in first.unwrap_or_else(PoisonError::into_inner).iter() {
        println!("{failure}");
    }
}
