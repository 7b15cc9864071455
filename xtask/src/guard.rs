//! `cargo xtask guard` counts the instructions that the hot paths execute and compares the counts
//! with `benches/guard.json`.
//!
//! Callgrind simulates a CPU, so the counts do not depend on the machine or its load. They do
//! depend on the compiler (which is pinned), the dependencies (which are locked) and glibc (which
//! provides `memcpy` and `malloc`). If a new version of glibc changes the counts, bless the new
//! counts.

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    process::{Command, ExitCode},
};

use serde_json::Value;

use crate::{
    steps::{root, succeed},
    tool::{Source, Tool},
};

/// The program that runs valgrind and parses its output. Its version must equal the version of the
/// `gungraun` crate in `benches/Cargo.toml`, because the crate rejects every other version of the
/// runner.
const RUNNER: Tool = Tool {
    package: "gungraun-runner",
    name: "gungraun-runner",
    version: "0.20.0",
    source: Source::CratesIo,
};

/// The relative increase above which the guard fails.
const TOLERATED: f64 = 0.05;

/// Instruction counts by benchmark name.
type Counts = BTreeMap<String, u64>;

pub(crate) fn run(bless: bool) -> ExitCode {
    let baseline = root().join("benches/guard.json");
    let outcome = count().and_then(|counts| {
        if bless {
            let mut text = serde_json::to_string_pretty(&counts)?;
            text.push('\n');
            fs::write(&baseline, text)?;
        }
        let blessed = serde_json::from_slice(&fs::read(&baseline)?)?;
        Ok(compare(&counts, &blessed))
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn count() -> io::Result<Counts> {
    let runner = RUNNER.install()?.join(RUNNER.name);
    // Remove the summaries of earlier runs, because `collect` reads every summary in the directory.
    let home = root().join("target/guard");
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    let mut cargo = Command::new("cargo");
    cargo.args([
        "bench",
        "--locked",
        "--quiet",
        "--package",
        "benches",
        "--bench",
        "guard",
    ]);
    cargo.env("GUNGRAUN_RUNNER", runner);
    cargo.env("GUNGRAUN_HOME", &home);
    cargo.env("GUNGRAUN_SAVE_SUMMARY", "json");
    succeed(cargo.current_dir(root()))?;
    let mut counts = Counts::new();
    collect(&home, &mut counts)?;
    Ok(counts)
}

/// Reads the summaries in a directory and its subdirectories.
fn collect(folder: &Path, counts: &mut Counts) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, counts)?;
        } else if path.file_name().is_some_and(|name| name == "summary.json") {
            let summary: Value = serde_json::from_slice(&fs::read(&path)?)?;
            let (name, count) = read(&summary)
                .ok_or_else(|| io::Error::other(format!("{}: no count", path.display())))?;
            counts.insert(name, count);
        }
    }
    Ok(())
}

/// Returns the benchmark's name and its instruction count.
fn read(summary: &Value) -> Option<(String, u64)> {
    let name = format!(
        "{}, {}",
        summary["function_name"].as_str()?,
        summary["id"].as_str()?
    );
    let profile = summary["profiles"].as_array()?.first()?;
    let instructions = &profile["data"]["total"]["metrics"]["Ir"];
    Some((name, instructions["values"]["new"].as_u64()?))
}

/// Prints the counts. Returns `false` if a count has grown too much or the set of benchmarks
/// differs from the blessed set.
fn compare(counts: &Counts, blessed: &Counts) -> bool {
    let mut is_fine = counts.keys().eq(blessed.keys());
    if !is_fine {
        println!("the benchmarks differ from those in benches/guard.json");
    }
    println!("{:28} {:>12} {:>12}", "instructions", "blessed", "now");
    for (name, count) in counts {
        let Some(before) = blessed.get(name) else {
            println!("{name:28} {:>12} {count:>12}", "-");
            continue;
        };
        let more = *count as f64 / *before as f64 - 1.0;
        let verdict = if more > TOLERATED {
            is_fine = false;
            "TOO MANY"
        } else if more < -TOLERATED {
            "fewer; bless to keep the gain"
        } else {
            ""
        };
        println!(
            "{name:28} {before:>12} {count:>12} {:+6.1} % {verdict}",
            more * 100.0
        );
    }
    if !is_fine {
        println!(
            "\nif this is intended, run `cargo xtask guard --bless` and explain why in the commit"
        );
    }
    is_fine
}
