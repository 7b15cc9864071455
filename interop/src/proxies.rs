//! The table of the proxies. Runs the tests in `tests/tests/proxies/` and turns each result into a
//! cell.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
};

use crate::table::{Cell, Table};

/// The name in the table, the module of the tests, and the name of the program.
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

/// The reasons for tests that are expected to panic, by module and test.
const FAULTS: &[(&str, &str, &str)] = &[
    ("caddy", CUT_OFF, "Caddy 2.6 ends it cleanly"),
    ("caddy_default", CUT_OFF, "Caddy 2.6 ends it cleanly"),
    ("haproxy_default", LEAVES, "needs `option abortonclose`"),
    (
        "haproxy_default",
        "no_event_waits_for_the_next",
        "delayed by up to 200 ms in the kernel; needs `option http-no-delay`",
    ),
    (
        "haproxy_default",
        "no_event_comes_200_ms_later_than_without_it",
        "delayed by up to 200 ms in the kernel; needs `option http-no-delay`",
    ),
    ("httpd", LEAVES, NOTICED_LATE),
    ("httpd_default", LEAVES, NOTICED_LATE),
    ("httpd", "one_connection_has_many_streams_over_http2", SIX),
    ("httpd", "one_browser_has_fifty_streams", SIX),
    (
        "varnish",
        "one_connection_has_many_streams_over_http2",
        "works, but a disconnect is noticed late, since HTTP/2 requests cannot be piped",
    ),
    ("varnish_default", LEAVES, NOTICED_LATE),
    (
        "varnish_default",
        "a_client_that_does_not_read_is_felt",
        "reads the whole stream into memory; needs `return (pipe)`",
    ),
];

const CUT_OFF: &str = "a_stream_that_breaks_off_has_no_clean_end";
const LEAVES: &str = "a_client_that_leaves_is_noticed";
const NOTICED_LATE: &str = "only noticed when the server sends the next event or keep-alive";
const SIX: &str = "serves only six streams of a connection at a time";

/// Returns the reason why a module does not have a test.
fn not_applicable(module: &str, test: &str) -> Option<&'static str> {
    match (module, test) {
        (
            _,
            "a_quiet_stream_stays_by_its_keep_alive"
            | "one_connection_has_many_streams_over_http2"
            | "one_browser_has_fifty_streams"
            | "the_address_of_the_client_arrives"
            | "a_server_that_refuses_is_passed_over"
            | "a_server_that_refuses_is_passed_over_from_its_health_check_on"
            | "a_server_that_is_not_ready_is_left_alone",
        ) if module.ends_with("_default") => Some("only tested with the files below"),
        ("varnish", "one_browser_has_fifty_streams") => Some("does not support TLS"),
        (
            "nginx",
            "a_server_that_is_not_ready_is_left_alone"
            | "a_server_that_refuses_is_passed_over_from_its_health_check_on",
        ) => Some("the free version has no health checks"),
        ("varnish", "a_server_that_refuses_is_passed_over") => {
            Some("a piped request is not retried until the health check notices the failure")
        }
        _ => None,
    }
}

/// Runs the tests and builds the table. Prints their output if one of them fails.
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
        // More threads than processors, since these tests mostly wait.
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
    // Sorted by name, like libtest's output.
    let mut tests: Vec<&str> = results.keys().map(|(_, test)| *test).collect();
    tests.sort_unstable();
    tests.dedup();

    let mut table = Table::new(tests.iter().map(|test| test.replace('_', " ")).collect());
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

/// The outcome of a test, as reported by libtest.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    /// The test was expected to panic, and did.
    Panicked,
    Failed,
}

/// Parses the outcomes by module and test, from lines like `test
/// behind::nginx::a_clean_end_stays_one ... ok`.
fn results(stdout: &str) -> BTreeMap<(&str, &str), Outcome> {
    let lines = stdout.lines().filter_map(|line| {
        let (test, result) = line.strip_prefix("test behind::")?.split_once(" ... ")?;
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
