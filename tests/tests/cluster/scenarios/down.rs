//! A server that is down or slow.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::{
    checker::Rules,
    client::Mode,
    cluster::{Cluster, NODES, Run, TOPIC},
    node::Publish,
    publisher::Outcome,
    redis_servers::{
        server::{DURABLE, IN_MEMORY, Program, Server},
        until,
    },
};

/// The server is down when a node starts, when a topic is opened and when events are published.
pub(crate) async fn engine_is_down(run: Run) {
    let server = Server::start_program(&Program::new(&*run.server), DURABLE).await;
    let mut cluster = Cluster::without_nodes(run, server, 100_000).await;
    cluster.server.kill().await;
    let settings = cluster.settings.clone();
    let started = cluster.start_node_with(0, settings, &[]).await;
    let error = started.unwrap_err();
    assert!(error.contains("failed to connect to Redis at"), "{error}");
    cluster.server.restart().await;
    for number in 0..NODES {
        cluster.start_node(number).await;
    }
    let live = cluster.add_client(Mode::At(0));
    let mut newest = String::new();
    for value in 1..=10 {
        newest = cluster.publish_stubbornly(0, value).await;
    }
    cluster.received(&[live], &newest).await;
    cluster.server.kill().await;
    until("the node has noticed that the server is down", async || {
        let probe = cluster.publish(0, 11).await;
        matches!(probe, Outcome::Unavailable(_))
    })
    .await;

    // A topic that is open can still be read. Other topics cannot be opened.
    let late = cluster.add_client(Mode::At(0));
    cluster.received(&[late], &newest).await;
    let response = cluster.get(0, "/topics/other").await;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));

    // Rejected events are not kept in memory.
    let mut sizes = Vec::new();
    for round in 0..10 {
        let mut attempts = JoinSet::new();
        for index in 0..300 {
            let event = Publish {
                value: 1_000 * (round + 1) + index,
                len: 64_000,
                ..Publish::default()
            };
            let publishing = cluster.publishing.clone();
            let path = format!("/topics/{TOPIC}");
            attempts.spawn(async move { publishing.attempt(0, &path, &event).await });
        }
        for outcome in attempts.join_all().await {
            let is_rejected = matches!(outcome, Some(Outcome::Unavailable(_)));
            assert!(is_rejected, "{outcome:?}");
        }
        sizes.push(cluster.nodes[0].as_ref().unwrap().resident_kib());
    }
    // The events of the last nine rounds add up to 172,800 KB.
    assert!(sizes[9] < sizes[0] + 100_000, "{sizes:?} KiB");

    cluster.server.restart().await;
    cluster.publish_stubbornly(0, 12).await;
    cluster.finish(Rules::default()).await;
}

/// The server is suspended for longer than a publisher waits.
pub(crate) async fn slow_engine(run: Run) {
    let mut cluster = Cluster::start(run, IN_MEMORY).await;
    cluster.add_crowd(48).await;
    cluster.publish_all_the_time(3, Duration::from_millis(15));
    cluster.confirmed(20).await;
    for pause in ["700", "1500"] {
        let () = cluster.server.run(&["CLIENT", "PAUSE", pause, "ALL"]).await;
        cluster.shuffle();
        cluster.confirmed(20).await;
    }
    cluster.finish(Rules::default()).await;
}
