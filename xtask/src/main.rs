//! The project's tasks. `cargo xtask test` installs everything that the tests need, and then runs
//! the tests. `cargo xtask bench` runs the benchmarks.
#![allow(clippy::print_stdout, reason = "a task runner prints its progress")]

mod bench;
mod cluster;
mod guard;
mod ide;
#[cfg(test)]
mod layering;
#[cfg(test)]
mod markdown;
mod peers;
#[cfg(test)]
mod prose;
mod public_api;
#[cfg(test)]
mod repository;
mod steps;
mod tool;

use std::{
    env,
    process::ExitCode,
    time::{Duration, Instant},
};

use steps::{Report, Step};

const USAGE: &str = "\
cargo xtask test            run everything that CI runs
cargo xtask test STEP…      run the steps whose names start with one of these
cargo xtask fuzz [SECONDS]  fuzz the wire format, guided by coverage (60 seconds)
cargo xtask soak [SECONDS]  run under full load with random faults (600 seconds)
cargo xtask model [SECONDS] test stored topics on a simulated engine with faults (600 seconds)
cargo xtask cluster         run two servers of `ticker` and `chat` on Redis, to kill them and watch
cargo xtask cluster-test [SECONDS] test several nodes on Redis and Valkey while they fail (1200 seconds)
cargo xtask contract        test the TypeScript client in Node.js, Deno, Bun and browsers
cargo xtask contract NAME…  run only the checks whose names contain one of these, such as `types` or `firefox`; `speed` runs only this way
cargo xtask interop         test real clients and proxies, and check the tables in the docs
cargo xtask interop NAME…   test only clients whose names contain one of these; also `proxies`, `pages`, `explorer`, `restarts`, `failover`, `gateway`
cargo xtask ide             check rust-analyzer on the examples (not in CI; builds it first: 10 minutes)
cargo xtask guard [--bless] compare the instruction counts of the hot paths with benches/guard.json
cargo xtask peers [NAME]    kill nodes and Redis servers under this project and its peers (5 minutes)
cargo xtask public-api      compare the public API with xtask/public-api.txt (rewrite: --overwrite)
cargo xtask bench           measure all servers and update docs/performance.md (15 minutes)
cargo xtask bench --quick   measure a subset and print the results (2 minutes)
cargo xtask bench SCENARIO… repeat the scenarios whose names start with one of these
cargo xtask bench --continue measure the scenarios that have no result yet";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["test", only @ ..] => test(only),
        ["fuzz"] => fuzz("60"),
        ["fuzz", seconds] if seconds.parse::<u32>().is_ok() => fuzz(seconds),
        ["soak"] => soak("600"),
        ["model"] => model(600),
        ["cluster"] => cluster::run(),
        ["cluster-test"] => run(&steps::cluster::repeated(1200)),
        ["cluster-test", seconds] => match seconds.parse() {
            Ok(seconds) => run(&steps::cluster::repeated(seconds)),
            Err(_) => usage(),
        },
        ["contract", only @ ..] => run(&steps::contract(only)),
        ["interop", only @ ..] => run(&steps::interop(only)),
        ["soak", seconds] if seconds.parse::<u32>().is_ok() => soak(seconds),
        ["model", seconds] => seconds.parse().map_or_else(|_| usage(), model),
        ["ide"] => ide::run(),
        ["peers"] => peers::run(""),
        ["peers", only] => peers::run(only),
        ["guard"] => guard::run(false),
        ["guard", "--bless"] => guard::run(true),
        ["public-api"] => public_api::run(false),
        ["public-api", "--overwrite"] => public_api::run(true),
        ["bench", options @ ..] => bench::run(options).unwrap_or_else(usage),
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    println!("{USAGE}");
    ExitCode::FAILURE
}

fn test(only: &[&str]) -> ExitCode {
    let steps = steps::tests();
    let chosen =
        |step: &&Step| only.is_empty() || only.iter().any(|prefix| step.name.starts_with(prefix));
    let mut report = Report::default();
    for step in &steps {
        if chosen(&step) {
            report.run(step);
        } else {
            report.skip(step);
        }
    }
    report.print()
}

fn run(step: &Step) -> ExitCode {
    let mut report = Report::default();
    report.run(step);
    report.print()
}

fn soak(seconds: &str) -> ExitCode {
    run(&steps::soak(&["--release"], seconds))
}

/// Runs the model with new random cases until the time has elapsed or a case fails.
fn model(seconds: u64) -> ExitCode {
    let mut report = Report::default();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(seconds) && report.has_passed() {
        report.run(&steps::model());
    }
    report.print()
}

fn fuzz(seconds: &str) -> ExitCode {
    run(&steps::fuzz(&format!("-max_total_time={seconds}")))
}
