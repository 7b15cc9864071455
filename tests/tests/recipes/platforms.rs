//! The settings for platforms in the "Running it in production" page.

use std::{fs, path::Path};

/// The times that a server needs after `drain_delay` and `drain`, in seconds: for the close hooks,
/// and until connections that are still open have been aborted.
const AFTER_DRAIN: f64 = 2.0 + 0.5;

/// The default of the `keep_alive` key, in seconds.
const KEEP_ALIVE: f64 = 15.0;

/// The longest drain time after SIGINT, in seconds.
const DRAIN_AFTER_SIGINT: f64 = 1.0;

/// A row of the table. Times are in seconds, and `None` if the cell contains a dash.
struct Row {
    platform: String,
    signal: String,
    grace: Option<f64>,
    idle: Option<f64>,
    total: Option<f64>,
    drain_delay: Option<f64>,
    drain: Option<f64>,
    max_duration: Option<f64>,
}

fn rows() -> Vec<Row> {
    let page =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../sse-runtime/docs/running_in_production.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, table) = page.split_once("\n| platform |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| !line.is_empty());
    rows.map(row).collect()
}

fn row(line: &str) -> Row {
    let cells = line.trim_matches('|').split('|').map(str::trim);
    let cells: Vec<&str> = cells.collect();
    let [
        platform,
        signal,
        grace,
        idle,
        total,
        drain_delay,
        drain,
        max_duration,
    ] = cells[..]
    else {
        panic!("{line} does not have eight cells");
    };
    Row {
        platform: platform.to_owned(),
        signal: signal.to_owned(),
        grace: seconds(grace),
        idle: seconds(idle),
        total: seconds(total),
        drain_delay: seconds(drain_delay),
        drain: seconds(drain),
        max_duration: seconds(max_duration),
    }
}

fn seconds(cell: &str) -> Option<f64> {
    if cell == "–" {
        return None;
    }
    let seconds = cell.strip_suffix(" s");
    let seconds = seconds.unwrap_or_else(|| panic!("{cell:?} is not a time in seconds"));
    Some(seconds.parse().unwrap())
}

#[test]
fn settings_fit_the_grace_period() {
    let rows = rows();
    let mut checked = 0;
    for row in &rows {
        let platform = &row.platform;
        let Some(grace) = row.grace else {
            assert_eq!((row.drain_delay, row.drain), (None, None), "{platform}");
            continue;
        };
        let (delay, drain) = (row.drain_delay.unwrap(), row.drain.unwrap());
        assert!(delay + drain + AFTER_DRAIN <= grace, "{platform}");
        if row.signal.contains("SIGINT") {
            assert_eq!((delay, drain), (0.0, DRAIN_AFTER_SIGINT), "{platform}");
        } else {
            assert!(row.signal.contains("SIGTERM"), "{platform}");
        }
        checked += 1;
    }
    assert!(checked >= 12, "only {checked} rows have a grace period");
}

#[test]
fn settings_fit_the_limits_of_responses() {
    for row in rows() {
        let platform = &row.platform;
        if let Some(idle) = row.idle {
            assert!(2.0 * KEEP_ALIVE <= idle, "{platform}");
        }
        // Without a limit, `max_duration` is not needed.
        assert_eq!(
            row.total.is_some(),
            row.max_duration.is_some(),
            "{platform}"
        );
        if let (Some(total), Some(max_duration)) = (row.total, row.max_duration) {
            assert!(max_duration < total, "{platform}");
        }
        assert!(platform.contains("](https://"), "{platform} has no source");
    }
}
