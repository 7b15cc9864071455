//! The steps of a test run, and the report on their results.

pub(crate) mod cluster;
mod contract;
mod interop;

use std::{
    env, io, iter,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

pub(crate) use contract::contract;
pub(crate) use interop::interop;

use crate::tool::Tool;

/// A cargo command, and the step's name in the report.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    args: Vec<String>,
    env: Option<(&'static str, String)>,
    /// The programs that the step needs, each with the Debian package that provides it.
    needs: Vec<(&'static str, &'static str)>,
    /// A program that the step needs and that Debian does not package.
    tool: Option<Tool>,
}

impl Step {
    fn cargo(name: &'static str, args: &[&str]) -> Self {
        Self {
            name,
            args: args.iter().map(ToString::to_string).collect(),
            env: None,
            needs: Vec::new(),
            tool: None,
        }
    }

    fn env(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.env = Some((key, value.into()));
        self
    }

    fn needs(mut self, program: &'static str, package: &'static str) -> Self {
        self.needs.push((program, package));
        self
    }

    fn tool(mut self, tool: Tool) -> Self {
        self.tool = Some(tool);
        self
    }

    /// Runs the command. `tool` is the directory of the step's tool.
    fn run(&self, tool: Option<PathBuf>) -> io::Result<()> {
        let mut cargo = Command::new("cargo");
        cargo.args(&self.args).current_dir(root());
        cargo.envs(self.env.as_ref().map(|(key, value)| (key, value)));
        if let Some(tool) = tool {
            let path = env::var_os("PATH").unwrap_or_default();
            let folders = iter::once(tool).chain(env::split_paths(&path));
            cargo.env("PATH", env::join_paths(folders).map_err(io::Error::other)?);
        }
        succeed(&mut cargo)
    }
}

/// Returns every step that CI runs, beginning with the quick steps.
pub(crate) fn tests() -> Vec<Step> {
    vec![
        Step::cargo("format", &["fmt", "--all", "--check"]),
        Step::cargo(
            "lint",
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--all-features",
                "--locked",
                "--",
                "-D",
                "warnings",
            ],
        ),
        Step::cargo(
            "lint-default-features",
            &[
                "clippy",
                "--package",
                "sse-runtime",
                "--locked",
                "--",
                "-D",
                "warnings",
            ],
        ),
        Step::cargo(
            "lint-without-server",
            &[
                "clippy",
                "--package",
                "sse-runtime",
                "--no-default-features",
                "--features",
                "testing,metrics,uuid",
                "--locked",
                "--",
                "-D",
                "warnings",
            ],
        ),
        Step::cargo(
            "docs",
            &[
                "doc",
                "--workspace",
                "--no-deps",
                "--all-features",
                "--locked",
            ],
        )
        .env("RUSTDOCFLAGS", "-D warnings"),
        // Pass `--allow-dirty`, because the working tree may have uncommitted changes during
        // development.
        Step::cargo(
            "package",
            &[
                "package",
                "--locked",
                "--allow-dirty",
                "--package",
                "sse-macros",
                "--package",
                "sse-runtime",
                "--package",
                "sse-log",
                "--package",
                "sse-redis",
            ],
        ),
        Step::cargo(
            "unit",
            &[
                "test",
                "--locked",
                "--all-features",
                "--package",
                "sse-macros",
                "--package",
                "sse-runtime",
                "--package",
                "sse-log",
                "--package",
                "sse-redis",
                "--package",
                "xtask",
            ],
        )
        // Installing the package may also start a Redis service. The service does not affect the
        // tests, because they start their own servers on other ports.
        .needs("redis-server", "redis-server"),
        Step::cargo(
            "examples",
            &["test", "--locked", "--package", "examples", "--examples"],
        )
        .needs("redis-server", "redis-server"),
        Step::cargo("starter", &["test", "--locked", "--package", "starter"]),
        Step::cargo(
            "readme",
            &["test", "--locked", "--package", "tests", "--test", "readme"],
        ),
        Step::cargo(
            "sockets",
            &[
                "test",
                "--locked",
                "--package",
                "tests",
                "--",
                // The `interop` step runs these.
                "--skip",
                "through_proxies::",
                // The `cluster` and `cluster-valkey` steps run these.
                "--skip",
                "on_redis::",
                "--skip",
                "on_valkey::",
            ],
        )
        .needs("curl", "curl")
        .needs("redis-server", "redis-server")
        .needs("openssl", "openssl")
        .needs("chromium", "chromium")
        .needs("ip", "iproute2"),
        without_takeover(),
        frames(),
        cluster::on_redis(),
        cluster::on_valkey(),
        interop(&[]),
        contract(&[]),
        // Use the dev profile for the soak test, because the steps above have already built the
        // program in that profile.
        soak(&[], "30"),
        Step::cargo(
            "messages",
            &["test", "--locked", "--package", "trybuild-cases"],
        ),
        fuzz("-runs=20000"),
        xtask("public-api"),
        xtask("guard").needs("valgrind", "valgrind"),
    ]
}

/// Returns a step that runs another `xtask` task. A `Step` can only run a cargo command, so the
/// task runs in a separate process.
fn xtask(task: &'static str) -> Step {
    let args = [
        "run",
        "--locked",
        "--quiet",
        "--package",
        "xtask",
        "--",
        task,
    ];
    Step::cargo(task, &args)
}

/// Returns the step that reruns the tests for delivery, timing and disconnects with the takeover
/// switched off, so that hyper keeps the connections. Slow tests are left out.
fn without_takeover() -> Step {
    const TESTS: [&str; 6] = ["hostile", "limits", "server", "stalled", "stream", "topic"];
    const SKIPPED: [&str; 7] = [
        "browser::",
        "hub::",
        "input::",
        "readers::",
        "takeover::",
        "tls::",
        "versions::",
    ];
    let mut args = vec!["test", "--locked", "--package", "tests"];
    args.extend(TESTS.iter().flat_map(|test| ["--test", test]));
    args.push("--");
    args.extend(SKIPPED.iter().flat_map(|module| ["--skip", module]));
    Step::cargo("sockets-without-takeover", &args)
        .env("TAKEOVER", "off")
        .needs("ip", "iproute2")
}

/// Returns the step that reruns tests with a layer that validates frames against the document of
/// their endpoint. The tests that count allocations, measure memory or need many descriptors are
/// left out, because they would measure the layer. So are those of clusters and proxies, which run
/// for minutes, and the test with a million events.
fn frames() -> Step {
    const TESTS: [&str; 12] = [
        "derive",
        "engine",
        "hostile",
        "killed",
        "limits",
        "overlap",
        "reasons",
        "server",
        "stalled",
        "stream",
        "topic",
        "topics_race",
    ];
    let mut args = vec!["test", "--locked", "--package", "tests"];
    args.extend(TESTS.iter().flat_map(|test| ["--test", test]));
    args.extend(["--", "--skip", "million::"]);
    Step::cargo("frames", &args)
        .env("VALIDATE_FRAMES", "1")
        .needs("curl", "curl")
        .needs("openssl", "openssl")
        .needs("chromium", "chromium")
        .needs("ip", "iproute2")
}

/// Returns the step that tests stored topics against a simulated engine, with 50,000 random cases
/// per test.
pub(crate) fn model() -> Step {
    Step::cargo(
        "model",
        &[
            "test",
            "--locked",
            "--release",
            "--package",
            "tests",
            "--test",
            "engine",
        ],
    )
    .env("CASES", "50000")
}

/// Returns the step that runs the soak test, with full load and random faults, for the given number
/// of seconds.
pub(crate) fn soak(profile: &[&str], seconds: &str) -> Step {
    let mut args = vec!["run", "--locked", "--package", "tests", "--bin", "soak"];
    args.extend(profile);
    args.extend(["--", seconds]);
    Step::cargo("soak", &args)
}

/// Returns the step that runs the fuzz target under libFuzzer. The stable compiler instruments the
/// code. The flags are those of cargo-fuzz without the sanitizers, which require the nightly
/// compiler and are not needed for code without `unsafe`.
pub(crate) fn fuzz(limit: &str) -> Step {
    const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Ccodegen-units=1";
    // Pass `--target`, so that cargo does not apply the flags to build scripts and procedural
    // macros.
    let host = env!("HOST");
    Step::cargo(
        "fuzz",
        &[
            "run",
            "--release",
            "--locked",
            "--manifest-path",
            "fuzz/Cargo.toml",
            "--target",
            host,
            "--bin",
            "wire",
            "--",
            "-max_len=512",
            "-len_control=0",
            "-timeout=20",
            "-print_final_stats=1",
            limit,
        ],
    )
    .env("RUSTFLAGS", FLAGS)
    .needs("c++", "g++")
}

/// Returns the root of the repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<(&'static str, Outcome)>,
}

enum Outcome {
    Passed(Duration),
    Failed(Duration),
    /// The step was skipped, for the reason given. The report prints the reason so that no step is
    /// skipped silently.
    Skipped(String),
}

impl Report {
    pub(crate) fn run(&mut self, step: &Step) {
        println!("\n== {}", step.name);
        if let Err(reason) = install(&step.needs) {
            println!("{reason}");
            self.rows.push((step.name, Outcome::Skipped(reason)));
            return;
        }
        let tool = match step.tool.map(Tool::install).transpose() {
            Ok(tool) => tool,
            Err(error) => {
                println!("{error}");
                let reason = format!("a program could not be installed: {error}");
                self.rows.push((step.name, Outcome::Skipped(reason)));
                return;
            }
        };
        let start = Instant::now();
        let outcome = match step.run(tool) {
            Ok(()) => Outcome::Passed(start.elapsed()),
            Err(error) => {
                println!("{error}");
                Outcome::Failed(start.elapsed())
            }
        };
        self.rows.push((step.name, outcome));
    }

    pub(crate) fn skip(&mut self, step: &Step) {
        self.rows
            .push((step.name, Outcome::Skipped("not selected".to_owned())));
    }

    pub(crate) fn has_passed(&self) -> bool {
        let failed = |(_, outcome): &(_, Outcome)| matches!(outcome, Outcome::Failed(_));
        !self.rows.iter().any(failed)
    }

    /// Prints the report. Returns a failure code if any step failed.
    pub(crate) fn print(self) -> ExitCode {
        let (mut passed, mut failed, mut skipped) = (0, 0, 0);
        println!("\n{:24} {:8} seconds", "step", "result");
        for (name, outcome) in &self.rows {
            match outcome {
                Outcome::Passed(took) => {
                    passed += 1;
                    println!("{name:24} {:8} {}", "passed", took.as_secs());
                }
                Outcome::Failed(took) => {
                    failed += 1;
                    println!("{name:24} {:8} {}", "FAILED", took.as_secs());
                }
                Outcome::Skipped(reason) => {
                    skipped += 1;
                    println!("{name:24} {:8} {reason}", "skipped");
                }
            }
        }
        println!("\nsteps: {passed} passed, {failed} failed, {skipped} skipped");
        if failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// Installs the Debian packages of all missing programs. Returns an error if any program is still
/// missing afterwards.
pub(crate) fn install(needs: &[(&str, &str)]) -> Result<(), String> {
    let missing = || needs.iter().filter(|(program, _)| !is_installed(program));
    let packages: Vec<&str> = missing().map(|(_, package)| *package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    println!("installing {}", packages.join(", "));
    let install = ["install", "--yes", "--no-install-recommends"];
    for args in [vec!["update"], [&install[..], &packages].concat()] {
        let installed = Command::new("apt-get")
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null())
            .status();
        if !installed.is_ok_and(|status| status.success()) {
            break;
        }
    }
    match missing().next() {
        None => Ok(()),
        Some((program, package)) => Err(format!(
            "`{program}` is missing, and apt-get could not install `{package}`"
        )),
    }
}

/// Runs a command. Returns an error if the command does not exit successfully.
pub(crate) fn succeed(command: &mut Command) -> io::Result<()> {
    if command.stdin(Stdio::null()).status()?.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("{command:?} failed")))
    }
}

/// Returns whether a program is installed. If `program` is an absolute path, checks that the file
/// exists. Otherwise, checks that the program can be started with `--version`. The exit status is
/// ignored, because not every program accepts that option.
fn is_installed(program: &str) -> bool {
    if program.starts_with('/') {
        return Path::new(program).exists();
    }
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}
