//! `cargo xtask bench` measures this project and its peers, which take turns on the same core, and
//! writes the results into `docs/performance.md`.
//!
//! `scenario` defines the measurements, `entrant` defines the programs to measure, and `bars` defines
//! the targets. `rig` starts the servers and the load generator. `results` stores the measurements, and `report` and `graph` present
//! them.

mod bars;
mod builds;
mod entrant;
mod graph;
mod machine;
mod million;
mod nchan;
mod process;
mod redis;
mod report;
mod results;
mod rig;
mod scenario;
mod search;

use std::{fs, io, process::ExitCode, time::Instant};

use results::Results;
use rig::{Rig, Tools};
use scenario::Size;

use crate::steps::{self, root};

/// The arguments that select the scenarios to measure.
#[derive(Default)]
struct Options<'a> {
    is_quick: bool,
    /// Whether to keep the results of an interrupted run.
    is_continued: bool,
    /// The scenarios to repeat are those whose names start with one of these prefixes.
    only: Vec<&'a str>,
}

impl<'a> Options<'a> {
    fn parse(args: &[&'a str]) -> Option<Self> {
        let mut options = Self::default();
        for arg in args {
            match *arg {
                "--quick" => options.is_quick = true,
                "--continue" => options.is_continued = true,
                flag if flag.starts_with('-') => return None,
                name => options.only.push(name),
            }
        }
        Some(options)
    }
}

/// Runs the measurements, prints the tables, and updates the performance page if every scenario has
/// a result. Returns `None` if the arguments are invalid.
pub(crate) fn run(args: &[&str]) -> Option<ExitCode> {
    let options = Options::parse(args)?;
    Some(match measure(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    })
}

fn measure(options: &Options<'_>) -> io::Result<()> {
    let size = if options.is_quick {
        Size::QUICK
    } else {
        Size::FULL
    };
    let kept = root().join(format!("target/bench/{}.json", size.name));
    let mut results = if options.is_continued || !options.only.is_empty() {
        Results::read(&kept)?
    } else {
        Results::default()
    };
    let mut left_out = Vec::new();
    // Nchan is packaged as a separate module, so Nchan may be missing even if nginx is installed.
    let nchan = [
        ("nginx", "nginx-core"),
        (
            "/usr/lib/nginx/modules/ngx_nchan_module.so",
            "libnginx-mod-nchan",
        ),
    ];
    let has_nchan = match steps::install(&nchan) {
        Ok(()) => true,
        Err(reason) => {
            left_out.push(format!("nginx with Nchan: {reason}"));
            false
        }
    };
    let has_redis = match steps::install(&[("redis-server", "redis-server")]) {
        Ok(()) => true,
        Err(reason) => {
            left_out.push(format!("topics in Redis: {reason}"));
            false
        }
    };
    let has_strace = match steps::install(&[("strace", "strace")]) {
        Ok(()) => true,
        Err(reason) => {
            left_out.push(format!("system calls per opened stream: {reason}"));
            false
        }
    };
    let tools = Tools {
        nchan: has_nchan,
        redis: has_redis,
        strace: has_strace,
    };
    println!("building the rig");
    let rig = Rig::build()?;
    results.machine = machine::describe(tools);
    results.left_out = left_out;
    let start = Instant::now();
    for scenario in scenario::all(&size) {
        let is_selected = match options.only.as_slice() {
            [] => !options.is_continued || !results.has(scenario.name),
            only => only.iter().any(|prefix| scenario.name.starts_with(prefix)),
        };
        if !is_selected || scenario.needs_redis() && !tools.redis {
            continue;
        }
        println!("\n== {} ({} s)", scenario.name, start.elapsed().as_secs());
        let (measured, failed) = scenario.measure(&rig, &size, tools)?;
        results.scenarios.insert(scenario.name.to_owned(), measured);
        results.failed.insert(scenario.name.to_owned(), failed);
        // Save the results after each scenario. If a later scenario fails, `--continue` then does
        // not repeat this one.
        results.write(&kept)?;
    }
    println!("\nmeasured in {} s", start.elapsed().as_secs());
    let report = report::markdown(&results, &size);
    println!("\n{report}");
    fs::write(kept.with_extension("md"), &report)?;
    if options.is_quick {
        return Ok(());
    }
    let missing: Vec<&str> = scenario::all(&size)
        .into_iter()
        .filter(|scenario| !scenario.needs_redis() || tools.redis)
        .map(|scenario| scenario.name)
        .filter(|name| !results.has(name))
        .collect();
    if !missing.is_empty() {
        println!(
            "docs/performance.md is unchanged, because these scenarios have no results: {}; measure them with --continue",
            missing.join(", ")
        );
        return Ok(());
    }
    let million = million::markdown(&results);
    report::write_page([("bars", &report), ("million", &million)])?;
    graph::draw(&results)
}
