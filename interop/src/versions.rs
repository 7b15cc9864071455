//! The date of the run that produced the tables in the docs, and the versions of the tested
//! software.

use std::{fs, path::Path, process::Command, time::SystemTime};

use crate::install::STARHTML;

/// The libraries in the table of clients.
const NPM: [&str; 4] = [
    "@microsoft/fetch-event-source",
    "eventsource",
    "eventsource-parser",
    "openai",
];
const PYPI: [&str; 5] = ["httpx", "httpx-sse", "openai", "requests", "sseclient-py"];

/// The official clients of other protocols, and the hypermedia libraries.
const PROTOCOLS_NPM: [&str; 10] = [
    "@a2a-js/sdk",
    "@ag-ui/client",
    "@anthropic-ai/sdk",
    "@hotwired/turbo",
    "@modelcontextprotocol/sdk",
    "ai",
    "htmx-ext-sse",
    "htmx.org",
    "htmx4",
    "openai",
];
/// The clients of the "Protocols" page that are not among the previous ones.
const PAGE_NPM: [&str; 4] = [
    "@modelcontextprotocol/client",
    "@modelcontextprotocol/conformance",
    "@starfederation/datastar-sdk",
    "conformance-2026",
];
const PAGE_PYPI: [&str; 1] = ["datastar-py"];
const PROTOCOLS_PYPI: [&str; 4] = ["a2a-sdk", "anthropic", "mcp", "openai"];

/// Returns the date and the versions of the clients.
pub(crate) fn of_clients() -> String {
    let mut all = vec![
        version_of("chromium", "--version"),
        version_of("firefox-esr", "--version"),
        version_of("curl", "--version"),
        node(),
    ];
    all.extend(npm(&NPM));
    all.extend(pypi(&PYPI));
    all.extend(
        [
            "eventsource-client",
            "reqwest-eventsource",
            "eventsource-stream",
        ]
        .map(crates_io),
    );
    format!("On {}, with {}.", today(), all.join(", "))
}

pub(crate) fn of_protocols() -> String {
    let mut all = vec![version_of("chromium", "--version"), node()];
    all.extend(npm(&PROTOCOLS_NPM));
    all.extend(pypi(&PROTOCOLS_PYPI));
    format!("On {}, with {}.", today(), all.join(", "))
}

pub(crate) fn of_protocols_page() -> String {
    let mut all = vec![version_of("chromium", "--version"), node()];
    all.extend(npm(&[PROTOCOLS_NPM.as_slice(), &PAGE_NPM].concat()));
    all.extend(pypi(&[PROTOCOLS_PYPI.as_slice(), &PAGE_PYPI].concat()));
    all.push(format!("PyPI starhtml {STARHTML}"));
    format!("On {}, with {}.", today(), all.join(", "))
}

pub(crate) fn of_proxies() -> String {
    let all = [
        version_of("nginx", "-v"),
        version_of("haproxy", "-v"),
        format!("Caddy {}", version_of("caddy", "version")),
        version_of("apache2", "-v"),
        version_of("varnishd", "-V"),
    ];
    format!("On {}, with {}.", today(), all.join(", "))
}

fn today() -> String {
    let now = humantime::format_rfc3339(SystemTime::now()).to_string();
    now.split('T').next().unwrap_or_default().to_owned()
}

/// Returns the first words of a program's output, up to and including the first one that contains a
/// digit.
fn version_of(program: &str, argument: &str) -> String {
    let Ok(output) = Command::new(program).arg(argument).output() else {
        return format!("no {program}");
    };
    let output = [output.stdout, output.stderr].concat();
    let output = String::from_utf8_lossy(&output);
    let mut words = Vec::new();
    for word in output.split_whitespace() {
        words.push(word.trim_matches(['(', ')']));
        if word.contains(|c: char| c.is_ascii_digit()) {
            break;
        }
    }
    words.join(" ")
}

/// Returns the version of Node.js, which is also installed from npm.
fn node() -> String {
    let node = dependencies()
        .into_iter()
        .find(|(name, _)| name.starts_with("node-"));
    let (_, version) = node.unwrap_or_default();
    format!("Node.js {version}")
}

fn npm(names: &[&str]) -> Vec<String> {
    let packages = dependencies().into_iter();
    packages
        .filter(|(name, _)| names.contains(&name.as_str()))
        .map(|(name, version)| match version.strip_prefix("npm:") {
            // An alias for another version of a package.
            Some(package) => match package.rsplit_once('@') {
                Some((package, version)) => format!("npm {package} {version}"),
                None => format!("npm {package}"),
            },
            None => format!("npm {name} {version}"),
        })
        .collect()
}

/// Returns the names and versions of the npm packages.
fn dependencies() -> Vec<(String, String)> {
    let file = read("clients/js/package.json");
    let file: serde_json::Value = serde_json::from_str(&file).unwrap_or_default();
    let packages = file["dependencies"].as_object().into_iter().flatten();
    packages
        .map(|(name, version)| {
            (
                name.clone(),
                version.as_str().unwrap_or_default().to_owned(),
            )
        })
        .collect()
}

fn pypi(names: &[&str]) -> Vec<String> {
    let file = read("clients/python/requirements.txt");
    file.lines()
        .filter_map(|line| line.split_once("=="))
        .filter(|(name, _)| names.contains(name))
        .map(|(name, version)| format!("PyPI {name} {version}"))
        .collect()
}

fn crates_io(name: &str) -> String {
    let file = read("../Cargo.lock");
    let mut lines = file
        .lines()
        .skip_while(|line| *line != format!("name = {name:?}"));
    let version = lines.nth(1).unwrap_or_default();
    let version = version.trim_start_matches("version = ").trim_matches('"');
    format!("crates.io {name} {version}")
}

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap_or_default()
}
