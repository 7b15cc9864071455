//! An [`Entrant`] is a program to measure in a scenario.

use super::rig::{Core, Program};

/// A program to measure, and the path that clients request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entrant {
    /// The name in the table.
    pub(crate) name: &'static str,
    pub(crate) program: Program,
    pub(crate) path: &'static str,
    /// The number of events in a burst.
    pub(crate) burst: u64,
}

/// The names that the bars use for the programs.
pub(crate) const OURS: &str = "sse-endpoint";
pub(crate) const PLAIN: &str = "sse-endpoint, axum::serve";
pub(crate) const BY_HAND: &str = "hand-written axum";
pub(crate) const ACTIX: &str = "actix-web-lab";
pub(crate) const NCHAN: &str = "nginx with Nchan";
pub(crate) const FLOOR: &str = "floor";
pub(crate) const FLOOR_EACH: &str = "floor, a write each";
pub(crate) const OURS_EACH: &str = "sse-endpoint, flush each";
pub(crate) const OURS_TOPIC: &str = "sse-endpoint, topic";
pub(crate) const OURS_LOG: &str = "sse-endpoint, sse-log";
pub(crate) const FROM_DISK: &str = "sse-endpoint, from disk";
pub(crate) const FROM_MEMORY: &str = "sse-endpoint, from memory";
pub(crate) const PUBLISH: &str = "`publish`, 256 in flight";
pub(crate) const SYNC: &str = "`fdatasync`";
pub(crate) const OURS_REDIS: &str = "sse-endpoint, sse-redis";
pub(crate) const NCHAN_REDIS: &str = "nginx with Nchan, Redis";
pub(crate) const PUBLISH_ONE: &str = "`publish`";
pub(crate) const PIPELINE: &str = "`XADD` and `PUBLISH`";
pub(crate) const SCRIPT: &str = "append script, 256 in flight";
pub(crate) const PING: &str = "`PING`";
const SCRIPT_ONE: &str = "append script";
const PLAIN_TOPIC: &str = "sse-endpoint, topic, axum::serve";
const PLAIN_EACH: &str = "sse-endpoint, flush each, axum::serve";

const SERVE: Program = Program::Own("sse-endpoint", &[]);
const AXUM_SERVE: Program = Program::Own("sse-endpoint", &["plain"]);
const SERVE_LOG: Program = Program::Own("sse-endpoint", &["log"]);
const SERVE_REPLAY: Program = Program::Own("sse-endpoint", &["replay"]);

impl Entrant {
    pub(crate) const fn new(name: &'static str, program: Program, path: &'static str) -> Self {
        Self {
            name,
            program,
            path,
            burst: 0,
        }
    }

    /// Returns the programs with these names. Clients request `path` from all of them.
    pub(crate) fn on(path: &'static str, names: &[&'static str]) -> Vec<Self> {
        let entrant = |name: &&'static str| {
            let program = match *name {
                OURS => SERVE,
                OURS_LOG => SERVE_LOG,
                PLAIN => AXUM_SERVE,
                BY_HAND => Program::Own("axum-hand", &[]),
                ACTIX => Program::Own("actix-sse", &[]),
                NCHAN => Program::Nchan,
                _ => Program::Own("floor", &[]),
            };
            Self::new(name, program, path)
        };
        names.iter().map(entrant).collect()
    }

    pub(crate) fn bursts() -> Vec<Self> {
        // Make each burst last about a second, so that every server reaches full speed.
        [
            (FLOOR, Program::Own("floor", &[]), "/burst", 6_400_000),
            (OURS, SERVE, "/burst", 3_200_000),
            (OURS_TOPIC, SERVE, "/burst-topic", 6_400_000),
            (PLAIN, AXUM_SERVE, "/burst", 3_200_000),
            (PLAIN_TOPIC, AXUM_SERVE, "/burst-topic", 6_400_000),
            (BY_HAND, Program::Own("axum-hand", &[]), "/burst", 640_000),
            (ACTIX, Program::Own("actix-sse", &[]), "/burst", 1_600_000),
            (OURS_EACH, SERVE, "/burst-each", 160_000),
            (
                FLOOR_EACH,
                Program::Own("floor", &["each"]),
                "/burst",
                160_000,
            ),
        ]
        .map(|(name, program, path, burst)| Self {
            burst,
            ..Self::new(name, program, path)
        })
        .to_vec()
    }

    /// Returns the two measurements that the `disk` program can run.
    pub(crate) fn disk() -> Vec<Self> {
        let entrant = |name, words| Self::new(name, Program::Own("disk", words), "");
        vec![entrant(PUBLISH, &["publish"]), entrant(SYNC, &["sync"])]
    }

    /// Returns two servers that share a topic in Redis, preceded by one server with a topic in
    /// memory. The Redis server runs on the given core.
    pub(crate) fn memory_and_redis(core: Core) -> Vec<Self> {
        vec![
            Self::new(OURS, SERVE, "/fanout"),
            Self::new(OURS_REDIS, Program::OnRedis(core), "/fanout"),
        ]
    }

    pub(crate) fn redis_and_nchan() -> Vec<Self> {
        let ours = Program::OnRedis(Core::Server);
        vec![
            Self::new(OURS_REDIS, ours, "/fanout"),
            Self::new(NCHAN_REDIS, Program::NchanOnRedis, "/fanout"),
        ]
    }

    /// Returns the calls that are made one after another.
    pub(crate) fn single_calls() -> Vec<Self> {
        Self::calls(&[
            (PUBLISH_ONE, &["publish", "1"]),
            (PIPELINE, &["pipeline", "1"]),
            (SCRIPT_ONE, &["script", "1"]),
        ])
    }

    /// Returns the calls of which 256 are in flight.
    pub(crate) fn concurrent_calls() -> Vec<Self> {
        Self::calls(&[(PUBLISH, &["publish", "256"]), (SCRIPT, &["script", "256"])])
    }

    /// Returns `PING`, called 1,000 times per second.
    pub(crate) fn pings() -> Vec<Self> {
        Self::calls(&[(PING, &["ping", "1000"])])
    }

    fn calls(calls: &[(&'static str, &'static [&'static str])]) -> Vec<Self> {
        let entrant = |(name, words)| Self::new(name, Program::RedisCalls(words), "");
        calls.iter().copied().map(entrant).collect()
    }

    pub(crate) fn replays() -> Vec<Self> {
        [FROM_DISK, FROM_MEMORY]
            .map(|name| Self::new(name, SERVE_REPLAY, "/replay"))
            .to_vec()
    }

    /// Returns the programs that support HTTP/2. Each burst lasts about a second.
    pub(crate) fn http2_bursts() -> Vec<Self> {
        [
            (OURS, SERVE, "/burst", 3_200_000),
            (OURS_TOPIC, SERVE, "/burst-topic", 6_400_000),
            (OURS_EACH, SERVE, "/burst-each", 640_000),
            (PLAIN, AXUM_SERVE, "/burst", 3_200_000),
            (PLAIN_TOPIC, AXUM_SERVE, "/burst-topic", 6_400_000),
            (PLAIN_EACH, AXUM_SERVE, "/burst-each", 640_000),
            (BY_HAND, Program::Own("axum-hand", &[]), "/burst", 640_000),
        ]
        .map(|(name, program, path, burst)| Self {
            burst,
            ..Self::new(name, program, path)
        })
        .to_vec()
    }
}
