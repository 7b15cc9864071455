//! Servers that lose an entire topic.

use std::time::Duration;

use crate::{
    checker::Rules,
    client::Mode,
    cluster::{Cluster, NODES, Run, TOPIC},
    log::log_key,
    redis_servers::{server::IN_MEMORY, until},
};

const OTHER_EPOCH: Rules = Rules {
    may_lose: true,
    is_trimmed: false,
    gaps: &["other_epoch"],
};

/// The topic is deleted in several ways, while events are published.
pub(crate) async fn lost_topic(run: Run) {
    let mut cluster = Cluster::start(run, IN_MEMORY).await;
    cluster.add_crowd(64).await;
    cluster.publish_all_the_time(3, Duration::from_millis(15));
    let mut faults = [0, 1, 2, 3];
    cluster.rng.shuffle(&mut faults);
    for fault in faults {
        cluster.confirmed(15).await;
        cluster.shuffle();
        let log = log_key(TOPIC);
        match fault {
            0 => cluster.server.run(&["FLUSHALL"]).await,
            1 => {
                let _: u64 = cluster.server.run(&["DEL", &log]).await;
            }
            2 => {
                let _: u64 = cluster.server.run(&["XTRIM", &log, "MAXLEN", "0"]).await;
            }
            _ => {
                cluster.server.kill().await;
                cluster.server.restart().await;
            }
        }
    }
    cluster.confirmed(15).await;
    cluster.finish(OTHER_EPOCH).await;
}

/// The server is out of memory, and evicts the topic.
pub(crate) async fn evicted_topic(run: Run) {
    let arguments = [IN_MEMORY, &["--maxmemory-policy", "allkeys-lru"]].concat();
    let mut cluster = Cluster::start(run, &arguments).await;
    let clients: Vec<usize> = (0..12)
        .map(|client| cluster.add_client(Mode::At(client % NODES)))
        .collect();
    let mut newest = String::new();
    for value in 1..=20 {
        newest = cluster.publish_stubbornly(0, value).await;
    }
    cluster.received(&clients, &newest).await;
    let used = cluster.server.info("memory", "used_memory").await.unwrap();
    let limit = (used.parse::<u64>().unwrap() + 1_000_000).to_string();
    let () = cluster
        .server
        .run(&["CONFIG", "SET", "maxmemory", &limit])
        .await;
    let mut fillers = 0;
    let filler = "x".repeat(20_000);
    // A node that notices the loss creates the topic again.
    until("the topic is evicted", async || {
        for _ in 0..20 {
            fillers += 1;
            let key = format!("filler:{fillers}");
            let set = cluster.server.try_run::<()>(&["SET", &key, &filler]).await;
            set.unwrap();
        }
        let stored: u64 = cluster.server.run(&["XLEN", &log_key(TOPIC)]).await;
        stored < 21
    })
    .await;
    let () = cluster
        .server
        .run(&["CONFIG", "SET", "maxmemory", "0"])
        .await;
    for value in 21..=40 {
        newest = cluster.publish_stubbornly(1, value).await;
    }
    cluster.received(&clients, &newest).await;
    for client in clients {
        assert!(!cluster.gaps(client).is_empty(), "client {client}");
    }
    cluster.finish(OTHER_EPOCH).await;
}
