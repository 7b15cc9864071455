//! A load generator for event streams. It runs on one thread, using epoll and HTTP/1.1. A burst can
//! also use a single HTTP/2 connection. The load generator reads a [`Plan`] from its JSON argument
//! and prints an [`Outcome`] as JSON.
//!
//! ```sh
//! loadgen '{"addresses":["127.0.0.1:3000"],"control":"127.0.0.1:3000","pids":[4711],"path":"/fanout","streams":1000,
//!           "load":{"fan-out":{"rate":50,"warm_up":1.0,"seconds":4.0}}}'
//! ```
//!
//! On the loopback interface, the kernel delivers data to the receiver within the sender's `send`
//! call. The server's CPU time therefore covers both sending and receiving in the kernel.

mod clients;
mod control;
mod decoder;
mod histogram;
mod http2;
mod process;

use std::{
    env,
    net::SocketAddr,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use clients::Clients;
use decoder::Totals;
use http2::Http2;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[derive(serde::Deserialize)]
struct Plan {
    /// The addresses of the servers. The streams are distributed over them in turn.
    addresses: Vec<SocketAddr>,
    /// The address that serves `/rate` and `/stats`.
    control: SocketAddr,
    /// The process IDs of the servers, and of any other processes whose CPU time and memory are
    /// counted.
    pids: Vec<u32>,
    path: String,
    streams: usize,
    load: Load,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Load {
    /// All clients send their requests at the same time and read their responses to the end.
    Burst {
        /// The time limit.
        seconds: f64,
        /// Whether all streams share one HTTP/2 connection. Otherwise, each stream uses a separate
        /// HTTP/1.1 connection.
        http2: bool,
    },
    /// The server publishes `rate` events per second.
    FanOut {
        rate: u64,
        warm_up: f64,
        seconds: f64,
    },
    /// The server sends events on its own schedule.
    Tick { warm_up: f64, seconds: f64 },
    /// Opens streams in steps, first up to each of these counts in turn, and then up to the total
    /// of `Plan::streams`. The server does not send any events.
    Idle { steps: Vec<usize> },
    /// In each round, opens all streams and then closes all of them at the same time.
    Leave { rounds: usize, seconds: f64 },
    /// Opens streams one after another, closing each one after its first event.
    Open,
}

#[derive(Default, serde::Serialize)]
struct Outcome {
    /// The number of streams whose response head has arrived.
    ready: usize,
    opened_per_second: f64,
    events: u64,
    /// The size of the responses in bytes, including the chunk framing.
    bytes: u64,
    seconds: f64,
    /// The CPU time of all servers during the measurement, in microseconds.
    cpu_us: f64,
    p50_us: f64,
    p99_us: f64,
    /// The fraction of published events that arrived, across all streams.
    delivered: f64,
    /// The fraction of requested events that were published.
    published: f64,
    /// The fraction of a core that the load generator used.
    own_core: f64,
    /// The server's memory in KiB at each number of streams.
    resident: Vec<(usize, u64)>,
    /// The time taken for every generator to be dropped, for each round.
    left_ms: Vec<f64>,
    /// The first few errors.
    errors: Vec<String>,
}

fn main() {
    let plan = env::args().nth(1).expect("a plan as the first argument");
    let plan: Plan = serde_json::from_str(&plan).expect("a valid plan");
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, most).expect("the hard limit is allowed");
    let mut outcome = plan.run();
    outcome.errors.truncate(3);
    println!("{}", serde_json::to_string(&outcome).expect("plain values"));
}

/// The time, the counters, and the CPU time of both processes when a measurement starts.
struct Measured {
    start: Instant,
    events: u64,
    bytes: u64,
    server: u64,
    own: u64,
}

impl Measured {
    fn start(plan: &Plan, totals: &Totals) -> Self {
        Self {
            server: process::cpu(&plan.pids),
            own: process::cpu(&[std::process::id()]),
            events: totals.events,
            bytes: totals.bytes,
            start: Instant::now(),
        }
    }

    fn end(self, plan: &Plan, totals: &Totals, outcome: &mut Outcome) {
        outcome.seconds = self.start.elapsed().as_secs_f64();
        outcome.cpu_us = (process::cpu(&plan.pids) - self.server) as f64 / 1e3;
        let own = process::cpu(&[std::process::id()]) - self.own;
        outcome.own_core = own as f64 / 1e9 / outcome.seconds;
        outcome.events = totals.events - self.events;
        outcome.bytes = totals.bytes - self.bytes;
        outcome.p50_us = totals.latency.quantile(0.5) as f64 / 1e3;
        outcome.p99_us = totals.latency.quantile(0.99) as f64 / 1e3;
    }
}

impl Plan {
    fn run(&self) -> Outcome {
        // A burst has enough events for a sample of their latencies to be representative.
        let sample_every = if let Load::Burst { .. } = self.load {
            16
        } else {
            1
        };
        let mut clients = Clients::new(sample_every);
        let mut outcome = Outcome::default();
        match &self.load {
            Load::Burst {
                seconds,
                http2: false,
            } => self.burst(&mut clients, *seconds, &mut outcome),
            Load::Burst {
                seconds,
                http2: true,
            } => self.burst_over_http2(&mut clients.totals, *seconds, &mut outcome),
            Load::FanOut {
                rate,
                warm_up,
                seconds,
            } => {
                self.open(&mut clients, &mut outcome);
                self.fan_out(&mut clients, *rate, (*warm_up, *seconds), &mut outcome);
            }
            Load::Tick { warm_up, seconds } => {
                self.open(&mut clients, &mut outcome);
                clients.poll_for(Duration::from_secs_f64(*warm_up));
                clients.totals.latency.clear();
                let measured = Measured::start(self, &clients.totals);
                clients.poll_for(Duration::from_secs_f64(*seconds));
                measured.end(self, &clients.totals, &mut outcome);
            }
            Load::Idle { steps } => self.idle(&mut clients, steps, &mut outcome),
            Load::Leave { rounds, seconds } => {
                for _ in 0..*rounds {
                    self.open(&mut clients, &mut outcome);
                    self.leave(&mut clients, *seconds, &mut outcome);
                }
            }
            Load::Open => self.open_in_turn(&mut clients, &mut outcome),
        }
        outcome.ready = outcome.ready.max(clients.totals.ready);
        outcome.errors = std::mem::take(&mut clients.totals.errors);
        outcome
    }

    /// Returns the address of the server that serves this stream.
    fn address(&self, stream: usize) -> SocketAddr {
        self.addresses[stream % self.addresses.len()]
    }

    fn open(&self, clients: &mut Clients, outcome: &mut Outcome) {
        let took = clients.open(self.streams, &self.addresses, &self.path);
        outcome.opened_per_second = self.streams as f64 / took.as_secs_f64();
        // Wait so that the server has finished opening the streams before the measurement starts.
        clients.poll_for(Duration::from_millis(300));
    }

    fn burst(&self, clients: &mut Clients, seconds: f64, outcome: &mut Outcome) {
        for index in 0..self.streams {
            clients.connect(self.address(index));
        }
        let measured = Measured::start(self, &clients.totals);
        let limit = Instant::now() + Duration::from_secs_f64(seconds);
        for index in 0..clients.len() {
            clients.ask(index, self.address(index), &self.path);
        }
        while clients.totals.ended < clients.len() && Instant::now() < limit {
            clients.poll(Duration::from_millis(50));
        }
        if clients.totals.ended < clients.len() {
            let late = format!("the burst did not finish within {seconds} s");
            clients.totals.errors.push(late);
        }
        measured.end(self, &clients.totals, outcome);
    }

    fn burst_over_http2(&self, totals: &mut Totals, seconds: f64, outcome: &mut Outcome) {
        let connection = match Http2::connect(self.address(0)) {
            Ok(connection) => connection,
            Err(error) => return totals.errors.push(format!("connect: {error}")),
        };
        let measured = Measured::start(self, totals);
        let limit = Duration::from_secs_f64(seconds);
        if let Err(error) = connection.burst(self.streams, &self.path, limit, totals) {
            totals.errors.push(error.to_string());
        }
        measured.end(self, totals, outcome);
    }

    fn open_in_turn(&self, clients: &mut Clients, outcome: &mut Outcome) {
        // This scenario records one latency per stream, so do not sample the latencies of events.
        clients.totals.sample_every = None;
        let measured = Measured::start(self, &clients.totals);
        for index in 0..self.streams {
            match clients.first_event(self.address(index), &self.path) {
                Ok(took) => clients.totals.latency.add(took.as_nanos() as u64),
                Err(error) => return clients.totals.errors.push(format!("open: {error}")),
            }
        }
        measured.end(self, &clients.totals, outcome);
    }

    fn fan_out(
        &self,
        clients: &mut Clients,
        rate: u64,
        (warm_up, seconds): (f64, f64),
        outcome: &mut Outcome,
    ) {
        let before = clients.totals.events;
        let begun = match control::get(self.control, &format!("/rate?r={rate}")) {
            Ok(stats) => stats.published,
            Err(error) => return clients.totals.errors.push(format!("/rate: {error}")),
        };
        let start = Instant::now();
        clients.poll_for(Duration::from_secs_f64(warm_up));
        clients.totals.latency.clear();
        let measured = Measured::start(self, &clients.totals);
        clients.poll_for(Duration::from_secs_f64(seconds));
        measured.end(self, &clients.totals, outcome);
        clients.totals.sample_every = None;
        // Send the request on another thread, and keep reading the streams on this one, because a
        // busy server would not respond otherwise.
        let (sender, response) = mpsc::channel();
        let control = self.control;
        thread::spawn(move || sender.send(control::get(control, "/rate?r=0")));
        let requested = rate as f64 * start.elapsed().as_secs_f64();
        let stopped = Instant::now();
        let mut published = None;
        let mut last = (clients.totals.events, Instant::now());
        while stopped.elapsed() < Duration::from_secs(10) {
            clients.poll(Duration::from_millis(20));
            if clients.totals.events != last.0 {
                last = (clients.totals.events, Instant::now());
            }
            match response.try_recv() {
                Ok(Ok(stats)) => published = Some(stats.published - begun),
                Ok(Err(error)) => clients.totals.errors.push(format!("/rate: {error}")),
                Err(_) => {}
            }
            if let Some(published) = published {
                let all = published * clients.totals.ready as u64;
                let is_quiet = last.1.elapsed() > Duration::from_millis(700);
                if clients.totals.events - before >= all || is_quiet {
                    break;
                }
            }
        }
        let published = published.unwrap_or_default() as f64;
        let all = published * clients.totals.ready as f64;
        outcome.published = published / requested;
        outcome.delivered = (clients.totals.events - before) as f64 / all.max(1.0);
    }

    fn idle(&self, clients: &mut Clients, steps: &[usize], outcome: &mut Outcome) {
        outcome.resident.push((0, process::resident(&self.pids)));
        let mut opening = Duration::ZERO;
        for step in steps.iter().chain([&self.streams]) {
            opening += clients.open(*step, &self.addresses, &self.path);
            clients.poll_for(Duration::from_millis(400));
            let resident = process::resident(&self.pids);
            outcome.resident.push((*step, resident));
        }
        outcome.opened_per_second = self.streams as f64 / opening.as_secs_f64();
        let measured = Measured::start(self, &clients.totals);
        clients.poll_for(Duration::from_millis(500));
        measured.end(self, &clients.totals, outcome);
    }

    fn leave(&self, clients: &mut Clients, seconds: f64, outcome: &mut Outcome) {
        outcome.ready = clients.totals.ready;
        let start = Instant::now();
        clients.close();
        while start.elapsed() < Duration::from_secs_f64(seconds) {
            match control::get(self.control, "/stats") {
                Ok(stats) if stats.open == 0 => {
                    return outcome.left_ms.push(start.elapsed().as_secs_f64() * 1e3);
                }
                Ok(_) => thread::sleep(Duration::from_millis(1)),
                Err(error) => return clients.totals.errors.push(format!("/stats: {error}")),
            }
        }
    }
}
