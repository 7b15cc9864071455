//! The highest rate of deliveries that a server keeps up.

use std::io;

use super::{
    results::Sample,
    rig::{Load, Outcome, Rig, Server},
    scenario::Size,
};

/// The first rate, in deliveries per second: less than every entrant's maximum.
const FROM: u64 = 300_000;

/// How many rates are tried at most.
const TRIES: usize = 14;

/// Doubles the rate until the server fails to keep it up twice, since once may be noise; then bisects.
pub(crate) fn most(
    rig: &Rig,
    server: &Server,
    path: &str,
    streams: usize,
    size: &Size,
) -> io::Result<Sample> {
    // To a tenth, or to a whole number of events.
    let fine = if size.is_full { 1.1 } else { 1.3 };
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
        if !is_kept_up(&outcome, streams) {
            outcome = rig.try_load(server, path, streams, &load)?;
        }
        if is_kept_up(&outcome, streams) {
            best = Some((rate, outcome));
        } else {
            failed = Some(rate);
        }
        let kept = best.as_ref().map_or(0, |(rate, _)| *rate);
        rate = match failed {
            None => rate * 2,
            Some(failed) if failed - kept <= 1 || (failed as f64) < kept as f64 * fine => break,
            Some(failed) => kept.midpoint(failed),
        };
    }
    let Some((rate, outcome)) = best else {
        return Err(io::Error::other("no rate is kept up"));
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

/// All are there, nearly all is delivered, on time, and within a second.
fn is_kept_up(outcome: &Outcome, streams: usize) -> bool {
    outcome.errors.is_empty()
        && outcome.ready == streams
        && outcome.delivered >= 0.99
        && outcome.published >= 0.97
        && outcome.p99_us < 1e6
}
