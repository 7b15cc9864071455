//! Builds the table of proxies. Runs the tests in `tests/tests/proxies/` and turns each result into
//! a cell.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
};

use crate::table::{Cell, Table};

/// The name in the table, the test module, and the program of each proxy.
const PROXIES: [(&str, &str, &str); 10] = [
    ("nginx", "nginx", "nginx"),
    ("HAProxy", "haproxy", "haproxy"),
    ("Caddy", "caddy", "caddy"),
    ("Apache httpd", "httpd", "apache2"),
    ("Varnish", "varnish", "varnishd"),
    ("nginx, default", "nginx_default", "nginx"),
    ("HAProxy, default", "haproxy_default", "haproxy"),
    ("Caddy, default", "caddy_default", "caddy"),
    ("Apache httpd, default", "httpd_default", "apache2"),
    ("Varnish, default", "varnish_default", "varnishd"),
];

/// The reasons why tests are expected to panic, by module and test.
const FAULTS: &[(&str, &str, &str)] = &[
    ("caddy", ABORTED, ENDS_CLEANLY),
    ("caddy_default", ABORTED, ENDS_CLEANLY),
    ("haproxy_default", NOTICED, "needs `option abortonclose`"),
    (
        "haproxy_default",
        "event_is_not_held_back_until_the_next_one",
        "delayed by up to 200 ms in the kernel; needs `option http-no-delay`",
    ),
    (
        "haproxy_default",
        "events_are_delayed_by_less_than_200_ms",
        "delayed by up to 200 ms in the kernel; needs `option http-no-delay`",
    ),
    ("httpd", NOTICED, NOTICED_LATE),
    ("httpd_default", NOTICED, NOTICED_LATE),
    ("httpd", "http2_connection_carries_many_streams", SIX),
    ("httpd", "browser_can_open_fifty_streams", SIX),
    (
        "varnish",
        "http2_connection_carries_many_streams",
        "works, but notices a disconnect late because HTTP/2 requests cannot be piped",
    ),
    ("varnish_default", NOTICED, NOTICED_LATE),
    (
        "varnish_default",
        "backpressure_reaches_the_generator",
        "reads the whole stream into memory; needs `return (pipe)`",
    ),
];

const ABORTED: &str = "aborted_stream_does_not_end_cleanly";
const NOTICED: &str = "client_disconnect_is_noticed_immediately";
const ENDS_CLEANLY: &str = "Caddy 2.6 ends the response cleanly";
const NOTICED_LATE: &str = "noticed only when the server sends the next event or keep-alive";
const SIX: &str = "serves only six streams per connection at a time";

/// Returns the reason why a module does not have a test.
fn not_applicable(module: &str, test: &str) -> Option<&'static str> {
    match (module, test) {
        (
            _,
            "keep_alive_keeps_a_quiet_stream_open"
            | "http2_connection_carries_many_streams"
            | "browser_can_open_fifty_streams"
            | "client_address_reaches_the_server"
            | "refusing_server_is_skipped_immediately"
            | "refusing_server_is_skipped_after_a_health_check"
            | "draining_server_receives_no_new_streams",
        ) if module.ends_with("_default") => Some("tested only with the configuration files below"),
        ("varnish", "browser_can_open_fifty_streams") => Some("does not support TLS"),
        (
            "nginx",
            "draining_server_receives_no_new_streams"
            | "refusing_server_is_skipped_after_a_health_check",
        ) => Some("the free version has no health checks"),
        ("varnish", "refusing_server_is_skipped_immediately") => {
            Some("piped requests are not retried; they fail until the next health check")
        }
        _ => None,
    }
}

/// Runs the tests and builds the table. If a test fails, prints the output of the tests.
pub(crate) fn table() -> Result<Table, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let run = Command::new(cargo)
        .args([
            "test",
            "--locked",
            "--package",
            "tests",
            "--test",
            "proxies",
        ])
        // Use more threads than processors, since these tests mostly wait.
        .args(["--", "--test-threads", "4"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let stdout = String::from_utf8_lossy(&run.stdout);
    let stderr = String::from_utf8_lossy(&run.stderr);
    if !run.status.success() {
        println!("{stderr}\n{stdout}");
    }
    let results = results(&stdout);
    if results.is_empty() {
        return Err("the proxy tests did not run".to_owned());
    }
    // Sort the tests by name, as libtest does.
    let mut tests: Vec<&str> = results.keys().map(|(_, test)| *test).collect();
    tests.sort_unstable();
    tests.dedup();

    let mut table = Table::new(tests.iter().map(|test| title(test)).collect());
    for (name, module, program) in PROXIES {
        let missing = stderr.contains(&format!("SKIPPED: no {program};"));
        let cells = tests.iter().map(|test| {
            if missing {
                return Cell::Skipped(format!("no {program}"));
            }
            cell(module, test, results.get(&(module, test)))
        });
        table.column(name, cells.collect());
    }
    Ok(table)
}

/// Converts a test name into the title of its row.
fn title(test: &str) -> String {
    test.replace('_', " ")
        .replace("keep alive", "keep-alive")
        .replace("http2", "HTTP/2")
}

/// The outcome of a test, as reported by libtest.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    /// The test was expected to panic, and did.
    Panicked,
    Failed,
}

/// Parses the outcomes by module and test, from lines like `test
/// through_proxies::nginx::clean_end_is_forwarded ... ok`.
fn results(stdout: &str) -> BTreeMap<(&str, &str), Outcome> {
    let lines = stdout.lines().filter_map(|line| {
        let test = line.strip_prefix("test through_proxies::")?;
        let (test, result) = test.split_once(" ... ")?;
        let (test, has_to_panic) = match test.strip_suffix(" - should panic") {
            Some(test) => (test, true),
            None => (test, false),
        };
        let outcome = match (result, has_to_panic) {
            ("ok", false) => Outcome::Passed,
            ("ok", true) => Outcome::Panicked,
            _ => Outcome::Failed,
        };
        Some((test.split_once("::")?, outcome))
    });
    lines.collect()
}

fn cell(module: &str, test: &str, outcome: Option<&Outcome>) -> Cell {
    let mut faults = FAULTS.iter();
    let fault = faults.find(|(of, at, _)| (*of, *at) == (module, test));
    match (outcome, fault, not_applicable(module, test)) {
        (Some(Outcome::Passed), None, None) => Cell::Ok,
        (Some(Outcome::Panicked), Some((_, _, reason)), None) => Cell::Fault(reason),
        (Some(Outcome::Panicked), None, None) => {
            Cell::Failed("the test is expected to panic, but no reason is given".to_owned())
        }
        (None, None, Some(reason)) => Cell::NotApplicable(reason),
        (None, None, None) => Cell::Skipped("no test exists, and no reason is given".to_owned()),
        (Some(Outcome::Failed), _, _) => Cell::Failed("see above".to_owned()),
        (_, Some(_), _) | (_, _, Some(_)) => {
            Cell::Failed("the outcome contradicts the reason given for it".to_owned())
        }
    }
}
