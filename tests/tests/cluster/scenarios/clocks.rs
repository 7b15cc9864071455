//! Clocks that differ, and a clock that goes backwards.

use std::{fs, path::Path, process::Command, time::Duration};

use crate::{
    checker::Rules,
    cluster::{Cluster, NODES, Run},
    redis_servers::{
        server::{IN_MEMORY, Program, Server},
        until,
    },
};

/// Clocks that differ from the machine's clock. Each clock is a file that contains its offset.
struct WrongClocks {
    directory: tempfile::TempDir,
}

impl WrongClocks {
    /// Compiles the library that shifts the time. libfaketime cannot be used, because it does not
    /// work with jemalloc, which Debian's `redis-server` uses.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/wrong_clock.c");
        let compiled = Command::new("cc")
            .args(["-O1", "-shared", "-fPIC", "-o"])
            .arg(directory.path().join("wrong_clock.so"))
            .arg(source)
            .status();
        assert!(compiled.unwrap().success());
        Self { directory }
    }

    /// Sets a clock to the machine's time plus `offset` seconds.
    fn set(&self, name: &str, offset: i32) {
        // A process may read the file at any time, so the file must never be empty.
        let new = self.directory.path().join("new");
        fs::write(&new, offset.to_string()).unwrap();
        fs::rename(new, self.directory.path().join(name)).unwrap();
    }

    /// Returns the environment of a process that uses this clock.
    fn environment(&self, name: &str) -> Vec<(String, String)> {
        let path = |name| {
            self.directory
                .path()
                .join(name)
                .to_str()
                .unwrap()
                .to_owned()
        };
        vec![
            ("LD_PRELOAD".to_owned(), path("wrong_clock.so")),
            ("WRONG_CLOCK".to_owned(), path(name)),
        ]
    }
}

/// The clocks of two nodes are wrong by an hour in opposite directions, and the server's clock jumps.
pub(crate) async fn wrong_clocks(run: Run) {
    let clocks = WrongClocks::new();
    clocks.set("server", 3_600);
    let program = Program {
        environment: clocks.environment("server"),
        ..Program::new(&*run.server)
    };
    let server = Server::start_program(&program, IN_MEMORY).await;
    let mut cluster = Cluster::without_nodes(run, server, 100_000).await;
    for (number, offset) in [3_600, -3_600, 0].into_iter().enumerate() {
        let name = number.to_string();
        clocks.set(&name, offset);
        let (settings, environment) = (cluster.settings.clone(), clocks.environment(&name));
        let started = cluster.start_node_with(number, settings, &environment);
        started.await.unwrap();
    }
    assert_eq!(cluster.nodes.len(), NODES);
    cluster.add_crowd(48).await;
    cluster.publish_all_the_time(3, Duration::from_millis(15));
    let mut before = time(&cluster).await;
    for offset in [-3_600, 7_200, 0] {
        cluster.confirmed(20).await;
        clocks.set("server", offset);
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
