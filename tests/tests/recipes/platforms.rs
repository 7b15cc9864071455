//! The settings for platforms in the "Running it in production" page.

use std::{fs, path::Path};

/// The time within which a server exits by default, in seconds.
const DEFAULT_GRACE: f64 = 30.0;

/// The default of the `keep_alive` key, in seconds.
const KEEP_ALIVE: f64 = 15.0;

/// A row of the table. Times are in seconds, and `None` if the cell contains a dash.
struct Row {
    platform: String,
    signal: String,
    grace: Option<f64>,
    idle: Option<f64>,
    total: Option<f64>,
    server_grace: Option<f64>,
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
        server_grace,
        max_duration,
    ] = cells[..]
    else {
        panic!("{line} does not have seven cells");
    };
    Row {
        platform: platform.to_owned(),
        signal: signal.to_owned(),
        grace: seconds(grace),
        idle: seconds(idle),
        total: seconds(total),
        server_grace: seconds(server_grace),
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
            assert_eq!(row.server_grace, None, "{platform}");
            continue;
        };
        // `Server::grace` takes the whole time between the signal and the kill.
        assert_eq!(
            row.server_grace,
            Some(grace.min(DEFAULT_GRACE)),
            "{platform}"
        );
        // After SIGINT, the server does not keep to this time.
        assert!(row.signal.contains("SIGTERM"), "{platform}");
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
