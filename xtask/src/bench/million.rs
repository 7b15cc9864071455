//! Extrapolates the cost of a million streams from the results of a run.

use super::{
    entrant::{BY_HAND, OURS, PLAIN},
    report::number,
    results::Results,
};

const MILLION: f64 = 1e6;

/// The default `keep_alive` interval, in seconds.
const KEEP_ALIVE: f64 = 15.0;

/// The total size of the Ethernet, IPv4 and TCP headers that precede a segment's data, in bytes.
const HEADERS: f64 = 66.0;

/// A row's label, and the function that calculates the row's value from the measured figures.
type Row = (&'static str, fn(&Figures<'_>) -> Option<f64>);

const ROWS: [Row; 8] = [
    ("process memory, GiB", |of| {
        Some(of.figure("idle", "KiB/stream")? * MILLION / 1024.0 / 1024.0)
    }),
    ("cores, with only keep-alives", |of| {
        Some(of.figure("fan-10k", "cpu us/event")? / KEEP_ALIVE)
    }),
    ("cores, with one event per stream every 10 s", |of| {
        Some(of.figure("fan-10k", "cpu us/event")? / 10.0)
    }),
    ("cores, with one event per stream per second", |of| {
        of.figure("fan-10k", "cpu us/event")
    }),
    ("cores, with one timer event per stream per second", |of| {
        of.figure("tick", "cpu us/event")
    }),
    ("seconds to open all streams, on one core", |of| {
        Some(MILLION / of.figure("idle", "opened/s")?)
    }),
    ("sends/s, with one event per stream per second", |_| {
        Some(MILLION)
    }),
    ("Gbit/s, with one event per stream per second", |of| {
        let bytes = of.figure("fan-10k", "bytes/event")? + HEADERS;
        Some(bytes * 8.0 * MILLION / 1e9)
    }),
];

struct Figures<'a> {
    results: &'a Results,
    entrant: &'static str,
}

impl Figures<'_> {
    fn figure(&self, scenario: &str, figure: &str) -> Option<f64> {
        let spread = self.results.spread(scenario, self.entrant, figure)?;
        Some(spread.median)
    }
}

pub(crate) fn markdown(results: &Results) -> String {
    let entrants = [OURS, PLAIN, BY_HAND];
    let mut out = format!(
        "| | {} |\n| --- | --- | --- | --- |\n",
        entrants.join(" | ")
    );
    for (label, calculate) in ROWS {
        let cell = |entrant| {
            let value = calculate(&Figures { results, entrant });
            value.map_or_else(|| "not measured".to_owned(), number)
        };
        let cells = entrants.map(cell).join(" | ");
        out += &format!("| {label} | {cells} |\n");
    }
    out
}
