//! [`Bar`] is a target for a ratio. The first table on the performance page has one row per bar.

use super::{
    builds,
    entrant::{
        ACTIX, BY_HAND, FLOOR, FLOOR_EACH, FROM_DISK, FROM_MEMORY, NCHAN, NCHAN_REDIS, OURS,
        OURS_EACH, OURS_LOG, OURS_REDIS, OURS_TOPIC, PING, PIPELINE, PLAIN, PUBLISH, PUBLISH_ONE,
        SCRIPT, SYNC,
    },
    results::{Results, Spread},
};

#[derive(Debug)]
pub(crate) struct Bar {
    pub(crate) what: &'static str,
    pub(crate) scenario: &'static str,
    pub(crate) figure: &'static str,
    pub(crate) ours: &'static str,
    /// A program whose figure is subtracted from ours before the comparison.
    pub(crate) base: Option<&'static str>,
    /// The peers to compare with. If there are several, the best peer's figure is used.
    peers: &'static [&'static str],
    pub(crate) limit: Limit,
}

/// A limit for the ratio of our median, or of its distance from the base's median, to the peer's
/// median.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

/// The ratio measured for a bar, and whether the ratio meets the bar.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) peer: &'static str,
    pub(crate) ours: Spread,
    pub(crate) theirs: Spread,
    pub(crate) ratio: f64,
    pub(crate) is_met: bool,
}

const EVENTS: &str = "events/s";
const CPU: &str = "cpu us/event";
const P50: &str = "p50 us";
const P99: &str = "p99 us";
const MOST: &str = "deliveries/s";
const FIRST: &str = "first event p50 us";
const CALLS: &str = "syscalls/stream";

const fn bar(
    what: &'static str,
    (scenario, figure): (&'static str, &'static str),
    ours: &'static str,
    peers: &'static [&'static str],
    limit: Limit,
) -> Bar {
    Bar {
        what,
        scenario,
        figure,
        ours,
        base: None,
        peers,
        limit,
    }
}

use Limit::{AtLeast, AtMost};

const READY: &str = "burst of structs sent by `yield_!` with `flush = \"ready\"`";
const TOPIC: &str = "burst of encoded topic updates";
const EACH: &str = "burst with `flush = \"each\"`";
const FAN_1K: &str = "fan-out to 1,000 subscribers at 50 events/s";
const FAN_10K: &str = "fan-out to 10,000 subscribers at 5 events/s";
const OPEN: &str = "opening streams one after another, each until its first event has been read";
const MOST_1K: &str = "maximum deliveries, 1,000 subscribers";
const MOST_10K: &str = "maximum deliveries, 10,000 subscribers";
const BUT_FLOOR: &[&str] = &[BY_HAND, ACTIX, NCHAN];

/// Every bar, in the table's order.
pub(crate) const BARS: &[Bar] = &[
    bar(READY, ("burst-1", EVENTS), OURS, &[BY_HAND], AtLeast(5.0)),
    bar(READY, ("burst-16", EVENTS), OURS, &[BY_HAND], AtLeast(5.0)),
    bar(
        TOPIC,
        ("burst-1", EVENTS),
        OURS_TOPIC,
        &[BY_HAND],
        AtLeast(10.0),
    ),
    bar(
        TOPIC,
        ("burst-16", EVENTS),
        OURS_TOPIC,
        &[BY_HAND],
        AtLeast(10.0),
    ),
    bar(TOPIC, ("burst-1", CPU), OURS_TOPIC, &[FLOOR], AtMost(1.3)),
    bar(TOPIC, ("burst-16", CPU), OURS_TOPIC, &[FLOOR], AtMost(1.3)),
    bar(
        EACH,
        ("burst-1", EVENTS),
        OURS_EACH,
        &[FLOOR_EACH],
        AtLeast(0.85),
    ),
    bar(
        EACH,
        ("burst-16", EVENTS),
        OURS_EACH,
        &[FLOOR_EACH],
        AtLeast(0.85),
    ),
    bar(
        READY,
        ("burst-h2-1", EVENTS),
        OURS,
        &[BY_HAND],
        AtLeast(1.0),
    ),
    bar(
        READY,
        ("burst-h2-50", EVENTS),
        OURS,
        &[BY_HAND],
        AtLeast(1.0),
    ),
    bar(READY, ("burst-h2-1", CPU), OURS, &[BY_HAND], AtMost(1.0)),
    bar(READY, ("burst-h2-50", CPU), OURS, &[BY_HAND], AtMost(1.0)),
    bar(FAN_1K, ("fan-1k", CPU), OURS, &[BY_HAND], AtMost(0.75)),
    bar(FAN_10K, ("fan-10k", CPU), OURS, &[BY_HAND], AtMost(0.75)),
    bar(FAN_1K, ("fan-1k", CPU), OURS, &[FLOOR], AtMost(1.35)),
    bar(FAN_10K, ("fan-10k", CPU), OURS, &[FLOOR], AtMost(1.35)),
    bar(FAN_1K, ("fan-1k", CPU), OURS, &[ACTIX], AtMost(0.9)),
    bar(FAN_10K, ("fan-10k", CPU), OURS, &[ACTIX], AtMost(0.9)),
    bar(FAN_1K, ("fan-1k", CPU), OURS, &[NCHAN], AtMost(0.8)),
    bar(FAN_10K, ("fan-10k", CPU), OURS, &[NCHAN], AtMost(0.8)),
    bar(FAN_1K, ("fan-1k", CPU), PLAIN, &[BY_HAND], AtMost(0.88)),
    bar(FAN_10K, ("fan-10k", CPU), PLAIN, &[BY_HAND], AtMost(0.88)),
    bar(FAN_1K, ("fan-1k", P99), OURS, BUT_FLOOR, AtMost(1.0)),
    bar(FAN_10K, ("fan-10k", P99), OURS, BUT_FLOOR, AtMost(1.0)),
    bar(MOST_1K, ("most-1k", MOST), OURS, &[BY_HAND], AtLeast(10.0)),
    bar(MOST_10K, ("most-10k", MOST), OURS, &[BY_HAND], AtLeast(8.0)),
    bar(MOST_1K, ("most-1k", MOST), PLAIN, &[BY_HAND], AtLeast(8.0)),
    bar(
        MOST_10K,
        ("most-10k", MOST),
        PLAIN,
        &[BY_HAND],
        AtLeast(3.5),
    ),
    bar(MOST_1K, ("most-1k", MOST), OURS_LOG, &[OURS], AtLeast(0.9)),
    bar(FAN_1K, ("fan-1k", CPU), OURS_LOG, &[OURS], AtMost(1.1)),
    bar(
        "publishing to a log, compared with calling `fdatasync` on the same disk",
        ("publish", "calls/s"),
        PUBLISH,
        &[SYNC],
        AtLeast(100.0),
    ),
    bar(
        "replaying 100,000 events from disk, compared with replaying them from memory",
        ("replay", EVENTS),
        FROM_DISK,
        &[FROM_MEMORY],
        AtLeast(0.3),
    ),
    bar(
        "maximum deliveries, 1,000 subscribers on two servers that share a topic in Redis",
        ("redis-most-1k", MOST),
        OURS_REDIS,
        &[OURS],
        AtLeast(0.9),
    ),
    bar(
        "publishing to Redis one event after another",
        ("redis-publish-1", P50),
        PUBLISH_ONE,
        &[PIPELINE],
        AtMost(1.5),
    ),
    bar(
        "publishing to Redis, compared with calling only the script that stores an event",
        ("redis-publish-256", "calls/s"),
        PUBLISH,
        &[SCRIPT],
        AtLeast(0.8),
    ),
    Bar {
        base: Some(OURS),
        ..bar(
            "time until a client of another server has received an event, minus the time with one \
             server and a topic in memory, compared with a round trip to Redis",
            ("redis-latency", P50),
            OURS_REDIS,
            &[PING],
            AtMost(3.0),
        )
    },
    bar(
        "fan-out to 1,000 subscribers at 50 events/s, on two servers that share a topic in Redis",
        ("redis-fan-1k", CPU),
        OURS_REDIS,
        &[NCHAN_REDIS],
        AtMost(0.8),
    ),
    bar(
        "closing 200 quiet streams at the same time, until the last generator is dropped",
        ("leave", "left ms"),
        OURS,
        &[BY_HAND],
        AtMost(1.0),
    ),
    bar(
        "10,000 streams, each with a timer and one event per second",
        ("tick", CPU),
        OURS,
        &[BY_HAND],
        AtMost(0.75),
    ),
    bar(
        "memory used by 10,000 idle streams (hand-written axum without keep-alive)",
        ("idle", "KiB/stream"),
        OURS,
        &[BY_HAND],
        AtMost(0.2),
    ),
    bar(
        "memory used by 10,000 idle streams (hand-written axum without keep-alive)",
        ("idle", "KiB/stream"),
        PLAIN,
        &[BY_HAND],
        AtMost(1.0),
    ),
    bar(
        "opening streams",
        ("idle", "opened/s"),
        OURS,
        &[BY_HAND],
        AtLeast(1.0),
    ),
    bar(OPEN, ("open", FIRST), OURS, &[BY_HAND], AtMost(1.0)),
    // Our server may make 15% more system calls than the peer, because it reads request heads
    // itself and checks which options each socket has inherited.
    bar(OPEN, ("open", CALLS), OURS, &[BY_HAND], AtMost(1.15)),
    bar(
        "clean release build of 100 endpoints",
        ("builds", builds::CLEAN),
        OURS,
        &[BY_HAND],
        AtMost(1.15),
    ),
    bar(
        "clean release build of 100 endpoints with `openapi`",
        ("builds", builds::CLEAN),
        builds::DESCRIBED,
        &[OURS],
        AtMost(1.05),
    ),
    bar(
        "`cargo check` after editing one of 100 endpoints",
        ("builds", builds::CHECK),
        OURS,
        &[BY_HAND],
        AtMost(1.15),
    ),
    bar(
        "binary size with 100 endpoints",
        ("builds", builds::SIZE),
        OURS,
        &[BY_HAND],
        AtMost(1.1),
    ),
];

impl Bar {
    /// Compares the measured ratio with the limit. Returns `None` if a measurement is missing.
    pub(crate) fn judge(&self, results: &Results) -> Option<Verdict> {
        let ours = results.spread(self.scenario, self.ours, self.figure)?;
        let ours = match self.base {
            Some(base) => ours.minus(results.spread(self.scenario, base, self.figure)?.median),
            None => ours,
        };
        let theirs = self.peers.iter().filter_map(|peer| {
            let spread = results.spread(self.scenario, peer, self.figure)?;
            Some((*peer, spread))
        });
        let by_median = |(_, a): &(_, Spread), (_, b): &(_, Spread)| a.median.total_cmp(&b.median);
        let (peer, theirs) = match self.limit {
            AtLeast(_) => theirs.max_by(by_median),
            AtMost(_) => theirs.min_by(by_median),
        }?;
        let ratio = ours.median / theirs.median;
        let is_met = match self.limit {
            AtLeast(limit) => ratio >= limit,
            AtMost(limit) => ratio <= limit,
        };
        Some(Verdict {
            peer,
            ours,
            theirs,
            ratio,
            is_met,
        })
    }

    /// Returns the names of all peers, which the table shows if the bar was not measured.
    pub(crate) fn peers(&self) -> String {
        self.peers.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::results::{Measured, Sample};

    #[test]
    fn judge_subtracts_the_base() {
        let sample = |p50| vec![Sample::from([(P50.to_owned(), p50)])];
        let measured = [(OURS_REDIS, 250.0), (OURS, 100.0), (PING, 60.0)];
        let measured = measured.map(|(name, p50)| (name.to_owned(), sample(p50)));
        let mut results = Results::default();
        let scenario = "redis-latency".to_owned();
        results.scenarios.insert(scenario, Measured::from(measured));
        let bar = BARS.iter().find(|bar| bar.scenario == "redis-latency");
        let verdict = bar.and_then(|bar| bar.judge(&results));
        let verdict = verdict.expect("all three programs were measured");
        assert_eq!((verdict.ours.median, verdict.ratio), (150.0, 2.5));
        assert!(verdict.is_met);
    }
}
