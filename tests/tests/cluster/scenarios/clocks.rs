//! Clocks that differ, and a clock that goes backwards.

use std::{fs, path::Path, time::Duration};

use crate::{
    checker::Rules,
    cluster::{Cluster, NODES, Run},
    redis_servers::{
        server::{IN_MEMORY, Program, Server},
        until,
    },
};

/// The library that changes the time of a process (Debian: faketime). It does not work with jemalloc,
/// which Debian's `redis-server` uses, so the scenario runs only on Valkey.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

fn fake(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    let fixed = [
        ("LD_PRELOAD", LIBRARY),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("FAKETIME_NO_CACHE", "1"),
    ];
    fixed
        .iter()
        .chain(variables)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// The clocks of two nodes are wrong by an hour in opposite directions, and the server's clock jumps.
#[allow(clippy::print_stderr, reason = "reports what was skipped")]
pub(crate) async fn wrong_clocks(run: Run) {
    if !Path::new(LIBRARY).exists() {
        eprintln!("SKIPPED: {LIBRARY} is missing (Debian: faketime)");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let clock = directory.path().join("clock");
    fs::write(&clock, "+3600\n").unwrap();
    let program = Program {
        environment: fake(&[("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap())]),
        ..Program::new(&*run.server)
    };
    let server = Server::start_program(&program, IN_MEMORY).await;
    let mut cluster = Cluster::without_nodes(run, server, 100_000).await;
    for (number, offset) in ["+3600", "-3600", "+0"].into_iter().enumerate() {
        let environment = fake(&[("FAKETIME", offset)]);
        let settings = cluster.settings.clone();
        let started = cluster.start_node_with(number, settings, &environment);
        started.await.unwrap();
    }
    assert_eq!(cluster.nodes.len(), NODES);
    cluster.add_crowd(48).await;
    cluster.publish_all_the_time(3, Duration::from_millis(15));
    let mut before = time(&cluster).await;
    for offset in ["-3600\n", "+7200\n", "+0\n"] {
        cluster.confirmed(20).await;
        fs::write(&clock, offset).unwrap();
        // The library may have read the file while it was empty.
        until("the clock has jumped", async || {
            before.abs_diff(time(&cluster).await) > 3_000
        })
        .await;
        before = time(&cluster).await;
        cluster.shuffle();
    }
    cluster.confirmed(20).await;
    cluster.finish(Rules::default()).await;
}

/// Returns the server's time in seconds.
async fn time(cluster: &Cluster) -> u64 {
    let (seconds, _): (String, String) = cluster.server.run(&["TIME"]).await;
    seconds.parse().unwrap()
}
