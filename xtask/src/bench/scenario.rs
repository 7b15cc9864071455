//! A [`Scenario`] consists of a load, the programs to measure under that load, and the number of
//! turns.

use std::io;

use super::{
    builds,
    entrant::{ACTIX, BY_HAND, Entrant, FLOOR, FROM_MEMORY, NCHAN, OURS, OURS_LOG, PLAIN},
    redis,
    results::{Measured, Sample, Spread},
    rig::{Core, Load, Outcome, Program, Rig, Tools},
    search,
};

/// The extent of a run.
#[derive(Debug)]
pub(crate) struct Size {
    pub(crate) name: &'static str,
    /// The number of turns that each program takes.
    pub(crate) turns: usize,
    /// How long a load lasts.
    pub(crate) seconds: f64,
    /// The number of streams in the large scenarios.
    pub(crate) many: usize,
    /// The number by which burst sizes are divided.
    pub(crate) burst: u64,
    /// The number of streams to open one after another.
    pub(crate) opens: usize,
    /// Whether to include the slow scenarios.
    pub(crate) is_full: bool,
}

impl Size {
    pub(crate) const FULL: Self = Self {
        name: "full",
        turns: 3,
        seconds: 2.0,
        many: 10_000,
        burst: 1,
        opens: 10_000,
        is_full: true,
    };
    pub(crate) const QUICK: Self = Self {
        name: "quick",
        turns: 1,
        seconds: 1.0,
        many: 10_000,
        burst: 4,
        opens: 2_000,
        is_full: false,
    };
}

/// The number of streams to open under `strace`.
const TRACED: usize = 500;

/// The number of stored events to replay.
const REPLAYED: u64 = 100_000;

#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    streams: usize,
    kind: Kind,
    entrants: Vec<Entrant>,
    turns: usize,
}

#[derive(Debug)]
enum Kind {
    Load(Load),
    /// Searches for the highest rate that a server can sustain.
    Search,
    /// Replays a stored topic, from disk or from memory.
    Replay,
    /// Runs the `disk` program instead of a server.
    Disk,
    /// Runs the `redis-calls` program instead of a server.
    RedisCalls,
    /// Compiles programs instead of starting servers.
    Builds,
}

pub(crate) fn all(size: &Size) -> Vec<Scenario> {
    let seconds = size.seconds;
    let turns = size.turns;
    let scenario = |name, streams, kind, entrants, turns| Scenario {
        name,
        streams,
        kind,
        entrants,
        turns,
    };
    let load =
        |name, streams, load, entrants| scenario(name, streams, Kind::Load(load), entrants, turns);
    let fan_out = |rate| Load::FanOut {
        rate,
        warm_up: 0.7,
        seconds,
    };
    let six = [FLOOR, OURS, PLAIN, BY_HAND, ACTIX, NCHAN];
    let six_and_log = [FLOOR, OURS, OURS_LOG, PLAIN, BY_HAND, ACTIX, NCHAN];
    let five = [FLOOR, OURS, PLAIN, BY_HAND, ACTIX];
    let burst = Load::Burst {
        seconds: 30.0,
        http2: false,
    };
    let http2_burst = Load::Burst {
        seconds: 30.0,
        http2: true,
    };
    let idle = Load::Idle {
        steps: vec![size.many / 10, size.many / 4, size.many / 2],
    };
    let idlers = [
        Entrant::on("/fanout", &[FLOOR, OURS, PLAIN, ACTIX, NCHAN]),
        // Streams of `/quiet` have no keep-alive, so `axum-hand` uses less memory per stream.
        Entrant::on("/quiet", &[BY_HAND]),
    ]
    .concat();
    let mut all = vec![
        load("burst-1", 1, burst.clone(), Entrant::bursts()),
        load("burst-16", 16, burst, Entrant::bursts()),
        load(
            "burst-h2-1",
            1,
            http2_burst.clone(),
            Entrant::http2_bursts(),
        ),
        load("burst-h2-50", 50, http2_burst, Entrant::http2_bursts()),
        load(
            "open",
            size.opens,
            Load::Open,
            Entrant::on("/first", &[FLOOR, OURS, PLAIN, BY_HAND]),
        ),
        load(
            "fan-1k",
            1_000,
            fan_out(50),
            Entrant::on("/fanout", &six_and_log),
        ),
        scenario(
            "fan-10k",
            size.many,
            Kind::Load(fan_out(50_000 / size.many as u64)),
            Entrant::on("/fanout", &six),
            // In this scenario, each server settles into one of two states whose costs differ by a
            // third, so more turns are needed.
            if size.is_full { 5 } else { turns },
        ),
        load(
            "leave",
            200,
            Load::Leave {
                rounds: 3 * turns,
                seconds: 5.0,
            },
            Entrant::on("/fanout", &[OURS, PLAIN, BY_HAND]),
        ),
        load(
            "tick",
            size.many,
            Load::Tick {
                // Opening the streams takes about a second, so the streams' timers are spread over
                // about a second too.
                warm_up: 1.5,
                seconds: seconds.max(2.0),
            },
            Entrant::on("/tick", &[FLOOR, OURS, PLAIN, BY_HAND]),
        ),
        // Memory hardly varies between turns, so two turns are enough.
        scenario("idle", size.many, Kind::Load(idle), idlers, turns.min(2)),
        scenario(
            "most-1k",
            1_000,
            Kind::Search,
            Entrant::on("/fanout", &[OURS, OURS_LOG, PLAIN, BY_HAND]),
            1,
        ),
        scenario("publish", 0, Kind::Disk, Entrant::disk(), turns),
        scenario("replay", 1, Kind::Replay, Entrant::replays(), turns),
    ];
    all.extend(redis(size));
    if size.is_full {
        all.push(scenario(
            "most-10k",
            size.many,
            Kind::Search,
            Entrant::on("/fanout", &[OURS, PLAIN, BY_HAND]),
            1,
        ));
        // Add more points to the graph, each at 50,000 deliveries per second.
        for (name, streams) in [("fan-10", 10), ("fan-100", 100), ("fan-5k", 5_000)] {
            let kind = Kind::Load(fan_out(50_000 / streams as u64));
            all.push(scenario(
                name,
                streams,
                kind,
                Entrant::on("/fanout", &five),
                1,
            ));
        }
        all.push(scenario("builds", 0, Kind::Builds, Vec::new(), 1));
    }
    all
}

/// Returns the scenarios that measure topics in Redis, or the calls that publish to them.
fn redis(size: &Size) -> [Scenario; 5] {
    let fan_out = |rate| Load::FanOut {
        rate,
        warm_up: 0.7,
        seconds: size.seconds,
    };
    let scenario = |name, streams, kind, entrants| Scenario {
        name,
        streams,
        kind,
        entrants,
        turns: size.turns,
    };
    [
        Scenario {
            turns: 1,
            ..scenario(
                "redis-most-1k",
                1_000,
                Kind::Search,
                Entrant::memory_and_redis(Core::Server),
            )
        },
        scenario(
            "redis-publish-1",
            0,
            Kind::RedisCalls,
            Entrant::single_calls(),
        ),
        scenario(
            "redis-publish-256",
            0,
            Kind::RedisCalls,
            Entrant::concurrent_calls(),
        ),
        scenario(
            "redis-latency",
            1,
            Kind::Load(fan_out(1_000)),
            [Entrant::memory_and_redis(Core::Client), Entrant::pings()].concat(),
        ),
        scenario(
            "redis-fan-1k",
            1_000,
            Kind::Load(fan_out(50)),
            Entrant::redis_and_nchan(),
        ),
    ]
}

impl Scenario {
    /// Returns whether the scenario compares programs that need Redis.
    pub(crate) fn needs_redis(&self) -> bool {
        let mut programs = self.entrants.iter().map(|entrant| entrant.program);
        programs.any(Program::needs_redis)
    }

    /// Runs every program's turns. Reports a turn as failed and continues if a program fails twice
    /// in that turn.
    pub(crate) fn measure(
        &self,
        rig: &Rig,
        size: &Size,
        tools: Tools,
    ) -> io::Result<(Measured, Vec<String>)> {
        if let Kind::Builds = self.kind {
            return Ok((builds::measure()?, Vec::new()));
        }
        let mut measured = Measured::new();
        let mut failed = Vec::new();
        for turn in 1..=self.turns {
            for entrant in &self.entrants {
                if entrant.program.needs_nchan() && !tools.nchan {
                    continue;
                }
                let sample = self.sample(rig, size, entrant, tools);
                match sample.or_else(|_| self.sample(rig, size, entrant, tools)) {
                    Ok(sample) => {
                        println!("{turn} {:34} {}", entrant.name, line(&sample));
                        let samples = measured.entry(entrant.name.to_owned()).or_default();
                        samples.push(sample);
                    }
                    Err(error) => {
                        let failure = format!("{}, {}: {error}", self.name, entrant.name);
                        println!("{turn} {failure}");
                        failed.push(failure);
                    }
                }
            }
        }
        Ok((measured, failed))
    }

    fn sample(
        &self,
        rig: &Rig,
        size: &Size,
        entrant: &Entrant,
        tools: Tools,
    ) -> io::Result<Sample> {
        match self.kind {
            Kind::Replay => return replay(rig, entrant),
            Kind::Disk => return disk(rig, size, entrant),
            Kind::Load(_) | Kind::Search | Kind::RedisCalls | Kind::Builds => {}
        }
        if let Program::RedisCalls(words) = entrant.program {
            return redis::measure_calls(rig, words, size.seconds);
        }
        let server = rig.start(entrant.program)?;
        let load = match &self.kind {
            Kind::Load(load) => load,
            Kind::Search => return search::most(rig, &server, entrant.path, self.streams, size),
            Kind::Replay | Kind::Disk | Kind::RedisCalls | Kind::Builds => {
                return Ok(Sample::new());
            }
        };
        let mut path = entrant.path.to_owned();
        if let Load::Burst { .. } = load {
            let events = entrant.burst / size.burst;
            let warm_up = format!("{path}?n={}", events / 10);
            rig.load(&server, &warm_up, 1, load)?;
            path = format!("{path}?n={}", events / self.streams as u64);
        }
        let outcome = rig.load(&server, &path, self.streams, load)?;
        if outcome.ready < self.streams {
            let ready = outcome.ready;
            return Err(io::Error::other(format!("only {ready} streams opened")));
        }
        let mut figures = figures(load, &outcome);
        if let (Load::Open, true, Program::Own(name, words)) = (load, tools.strace, entrant.program)
        {
            drop(server);
            let count = |streams| rig.count_syscalls((name, words), entrant.path, streams);
            // Subtract the system calls that the server makes during startup.
            let calls = count(TRACED)?.saturating_sub(count(0)?);
            let per_stream = calls as f64 / TRACED as f64;
            figures.insert("syscalls/stream".to_owned(), per_stream);
        }
        Ok(figures)
    }
}

/// Measures how fast a new process replays a stored topic. The first request opens the topic and
/// reads it from disk. Later requests read it from memory.
fn replay(rig: &Rig, entrant: &Entrant) -> io::Result<Sample> {
    let load = Load::Burst {
        seconds: 30.0,
        http2: false,
    };
    rig.run_disk(&["fill", "replay.redb", &REPLAYED.to_string()])?;
    let server = rig.start(entrant.program)?;
    if entrant.name == FROM_MEMORY {
        rig.load(&server, entrant.path, 1, &load)?;
    }
    let outcome = rig.load(&server, entrant.path, 1, &load)?;
    if outcome.events < REPLAYED {
        let events = outcome.events;
        return Err(io::Error::other(format!("only {events} events arrived")));
    }
    Ok(figures(&load, &outcome))
}

/// Returns the number of calls per second that the `disk` program measures.
fn disk(rig: &Rig, size: &Size, entrant: &Entrant) -> io::Result<Sample> {
    let Program::Own(_, words) = entrant.program else {
        return Ok(Sample::new());
    };
    let seconds = size.seconds.to_string();
    let printed = rig.run_disk(&[words, &[&*seconds]].concat())?;
    let calls: f64 = printed.parse().map_err(io::Error::other)?;
    Ok(Sample::from([("calls/s".to_owned(), calls)]))
}

/// Returns the figures that are measured under a load.
fn figures(load: &Load, outcome: &Outcome) -> Sample {
    let events = outcome.events as f64;
    let per_event = outcome.cpu_us / events.max(1.0);
    let mut figures = vec![("loadgen", outcome.own_core)];
    match load {
        Load::Burst { .. } => figures.extend([
            ("events/s", events / outcome.seconds),
            ("cpu us/event", per_event),
        ]),
        Load::FanOut { .. } | Load::Tick { .. } => figures.extend([
            ("events/s", events / outcome.seconds),
            ("cpu us/event", per_event),
            ("p50 us", outcome.p50_us),
            ("p99 us", outcome.p99_us),
            ("delivered", outcome.delivered),
            ("bytes/event", outcome.bytes as f64 / events.max(1.0)),
        ]),
        Load::Idle { .. } => {
            figures.push(("opened/s", outcome.opened_per_second));
        }
        Load::Open => figures.extend([
            ("first event p50 us", outcome.p50_us),
            ("first event p99 us", outcome.p99_us),
        ]),
        Load::Leave { .. } => {
            let left = Spread::of(outcome.left_ms.clone());
            figures.extend(left.map(|left| ("left ms", left.median)));
        }
    }
    let mut figures: Sample = figures
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    if let [(_, before), steps @ ..] = outcome.resident.as_slice() {
        for (streams, resident) in steps {
            let kib = resident.saturating_sub(*before) as f64;
            figures.insert(format!("KiB at {streams}"), kib);
            figures.insert("KiB/stream".to_owned(), kib / *streams as f64);
        }
    }
    figures
}

fn line(sample: &Sample) -> String {
    let figures = sample
        .iter()
        .map(|(name, value)| format!("{name} {value:.3}"));
    figures.collect::<Vec<_>>().join(", ")
}
