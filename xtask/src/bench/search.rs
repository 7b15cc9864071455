//! Finds the highest delivery rate that a server can sustain.

use std::io;

use super::{
    results::Sample,
    rig::{Load, Outcome, Rig, Server},
    scenario::Size,
};

/// The first rate to try, in deliveries per second, which is below every server's maximum.
const FROM: u64 = 300_000;

/// The maximum number of rates to try.
const TRIES: usize = 14;

/// Doubles the rate until the server fails to sustain it, and then bisects. A rate counts as failed
/// only if the server fails to sustain it twice, because a single failure may be noise.
pub(crate) fn most(
    rig: &Rig,
    server: &Server,
    path: &str,
    streams: usize,
    size: &Size,
) -> io::Result<Sample> {
    // In a full run, stop the search once the maximum rate is known to within 5% or to within one
    // event per second. One target is a ratio of 0.9 between two maximum rates, so 10% would be too coarse.
    let fine = if size.is_full { 1.05 } else { 1.3 };
    let mut best: Option<(u64, Outcome)> = None;
    let mut failed: Option<u64> = None;
    let mut rate = FROM / streams as u64;
    for _ in 0..TRIES {
        let load = Load::FanOut {
            rate,
            warm_up: 0.4,
            seconds: 1.2,
        };
        let mut outcome = rig.try_load(server, path, streams, &load)?;
        if !is_sustained(&outcome, streams) {
            outcome = rig.try_load(server, path, streams, &load)?;
        }
        if is_sustained(&outcome, streams) {
            best = Some((rate, outcome));
        } else {
            failed = Some(rate);
        }
        let good = best.as_ref().map_or(0, |(rate, _)| *rate);
        rate = match failed {
            None => rate * 2,
            Some(failed) if failed - good <= 1 || (failed as f64) < good as f64 * fine => break,
            Some(failed) => good.midpoint(failed),
        };
    }
    let Some((rate, outcome)) = best else {
        return Err(io::Error::other("no rate is sustained"));
    };
    let deliveries = outcome.events as f64 / outcome.seconds;
    let figures = [
        ("deliveries/s", deliveries),
        ("rate", rate as f64),
        ("p99 us", outcome.p99_us),
        ("loadgen", outcome.own_core),
    ];
    Ok(figures.map(|(name, value)| (name.to_owned(), value)).into())
}

/// Returns whether every client was connected, nearly every event was published and delivered, and
/// the p99 latency was below a second.
fn is_sustained(outcome: &Outcome, streams: usize) -> bool {
    outcome.errors.is_empty()
        && outcome.ready == streams
        && outcome.delivered >= 0.99
        && outcome.published >= 0.97
        && outcome.p99_us < 1e6
}
