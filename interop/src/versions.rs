//! What the tables were made with.

use std::{fs, path::Path, process::Command, time::SystemTime};

/// The date, and a version for each of them.
pub(crate) fn of_clients() -> String {
    let mut all = vec![
        says("chromium", "--version"),
        says("firefox-esr", "--version"),
        says("curl", "--version"),
        says("node", "--version").replace('v', "Node.js "),
    ];
    all.extend(npm());
    all.extend(pypi());
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

pub(crate) fn of_proxies() -> String {
    let all = [
        says("nginx", "-v"),
        says("haproxy", "-v"),
        format!("Caddy {}", says("caddy", "version")),
        says("apache2", "-v"),
        says("varnishd", "-V"),
    ];
    format!("On {}, with {}.", today(), all.join(", "))
}

fn today() -> String {
    let now = humantime::format_rfc3339(SystemTime::now()).to_string();
    now.split('T').next().unwrap_or_default().to_owned()
}

/// The first of what a program says of itself, up to its first word behind the number.
fn says(program: &str, argument: &str) -> String {
    let Ok(output) = Command::new(program).arg(argument).output() else {
        return format!("no {program}");
    };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let mut words = Vec::new();
    for word in said.split_whitespace() {
        words.push(word.trim_matches(['(', ')']));
        if word.contains(|c: char| c.is_ascii_digit()) {
            break;
        }
    }
    words.join(" ")
}

fn npm() -> Vec<String> {
    let file = read("clients/js/package.json");
    let file: serde_json::Value = serde_json::from_str(&file).unwrap_or_default();
    let packages = file["dependencies"].as_object().into_iter().flatten();
    packages
        .map(|(name, version)| format!("npm {name} {}", version.as_str().unwrap_or_default()))
        .collect()
}

fn pypi() -> Vec<String> {
    let file = read("clients/python/requirements.txt");
    let ours = ["httpx", "httpx-sse", "openai", "requests", "sseclient-py"];
    file.lines()
        .filter_map(|line| line.split_once("=="))
        .filter(|(name, _)| ours.contains(name))
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
