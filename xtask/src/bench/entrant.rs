//! An [`Entrant`] is a program to measure in a scenario.

use super::rig::Program;

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
