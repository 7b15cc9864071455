//! Describes the machine and the software versions that a measurement used.

use std::{fs, process::Command};

use super::rig::{self, Tools};
use crate::steps::root;

/// Returns the facts that a reader needs to judge the results, one per line.
pub(crate) fn describe(tools: Tools) -> Vec<String> {
    let processor = first_line("/proc/cpuinfo", "model name")
        .and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
        .unwrap_or_default();
    let memory = first_line("/proc/meminfo", "MemTotal:")
        .and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .map_or(0, |kib: u64| kib / 1024 / 1024);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let system = first_line("/etc/os-release", "PRETTY_NAME=")
        .map(|line| {
            line.trim_start_matches("PRETTY_NAME=")
                .trim_matches('"')
                .to_owned()
        })
        .unwrap_or_default();
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    let mut lines = vec![
        format!(
            "{cores} cores of {processor}, {memory} GiB, {system}, Linux {}",
            kernel.trim()
        ),
        format!("load average before the run: {load}"),
        format!(
            "{}, release profile, system allocator",
            output("rustc", &["--version"])
        ),
        format!(
            "commit {}",
            output("git", &["describe", "--always", "--dirty"])
        ),
        versions(&[
            "axum",
            "hyper",
            "tokio",
            "actix-web",
            "actix-web-lab",
            "redb",
            "redis",
        ]),
        format!(
            "logs are stored in `target/bench/scratch` ({})",
            file_system()
        ),
    ];
    let nchan: &[_] = match tools.nchan {
        true => &["nginx-core", "libnginx-mod-nchan"],
        false => &[],
    };
    let redis: &[_] = match tools.redis {
        true => &["redis-server"],
        false => &[],
    };
    let packages = [nchan, redis].concat();
    if !packages.is_empty() {
        let query = ["-W", "-f", "${Package} ${Version}, "];
        let versions = output("dpkg-query", &[&query[..], &packages].concat());
        lines.push(versions.trim_end_matches(',').to_owned());
    }
    lines
}

/// Returns the type and the device of the file system that stores the logs.
fn file_system() -> String {
    let directory = rig::scratch();
    let args = ["--output=fstype,source", &directory.to_string_lossy()];
    let table = output("df", &args);
    let row = table.lines().last().unwrap_or_default();
    row.split_whitespace().collect::<Vec<_>>().join(" on ")
}

/// Returns the versions of these packages, as recorded in the rig's lock file.
fn versions(packages: &[&str]) -> String {
    let lock = fs::read_to_string(root().join("benches/rig/Cargo.lock")).unwrap_or_default();
    let version = |name: &&str| {
        let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
        let (version, _) = rest.split_once('"')?;
        Some(format!("{name} {version}"))
    };
    let versions: Vec<String> = packages.iter().filter_map(version).collect();
    versions.join(", ")
}

fn first_line(file: &str, prefix: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let mut lines = text.lines();
    lines
        .find(|line| line.starts_with(prefix))
        .map(str::to_owned)
}

fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .current_dir(root())
        .output();
    let output = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}
