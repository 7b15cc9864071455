//! Nodes and servers that are killed while they publish.

use std::time::Duration;

use crate::{
    checker::Rules,
    cluster::{Cluster, NODES, Run, TOPIC},
    log::entries,
    node::Publish,
    publisher::Outcome,
    redis_servers::{server::DURABLE, until},
};

/// No confirmed event is lost, and no client receives a gap.
pub(crate) async fn killed_nodes(run: Run) {
    let mut cluster = Cluster::start(run, DURABLE).await;
    cluster.add_crowd(96).await;
    cluster.publish_all_the_time(3, Duration::from_millis(15));
    for round in 0..12 {
        cluster.confirmed(8).await;
        cluster.shuffle();
        if round % 5 == 4 {
            cluster.server.kill().await;
            cluster.server.restart().await;
            continue;
        }
        let number = cluster.rng.usize(..NODES);
        cluster.kill_node(number);
        if cluster.rng.bool() {
            cluster.pause(0..200).await;
        }
        cluster.start_node(number).await;
    }
    cluster.finish(Rules::default()).await;
}

/// A node is killed after it has sent an event and before it receives the reply. The publisher then
/// publishes the event with the same key through another node.
pub(crate) async fn key_is_retried_after_its_node_is_killed(run: Run) {
    let mut cluster = Cluster::start(run, DURABLE).await;
    cluster.add_crowd(32).await;
    for value in 1..6 {
        let first = cluster.rng.usize(..NODES);
        let second = (first + cluster.rng.usize(1..NODES)) % NODES;
        // Opens the topic at the node.
        cluster.publish_stubbornly(first, 100 + value).await;
        let before = entries(&cluster.server, TOPIC).await;
        cluster.proxies[first].hold_replies(true);
        let event = Publish {
            value,
            key: Some(format!("{:032x}", cluster.rng.u128(..))),
            ..Publish::default()
        };
        let attempt = {
            let (publishing, event) = (cluster.publishing.clone(), event.clone());
            let path = format!("/topics/{TOPIC}");
            tokio::spawn(async move { publishing.attempt(first, &path, &event).await })
        };
        until("the event is stored", async || {
            entries(&cluster.server, TOPIC).await > before
        })
        .await;
        cluster.kill_node(first);
        let attempted = attempt.await.unwrap();
        assert!(
            matches!(attempted, Some(Outcome::Unknown(_))),
            "{attempted:?}"
        );
        let retried = cluster.publish_event(second, value, event.key).await;
        assert!(matches!(retried, Outcome::Ok(_)), "{retried:?}");
        assert_eq!(entries(&cluster.server, TOPIC).await, before + 1);
        cluster.proxies[first].hold_replies(false);
        cluster.start_node(first).await;
    }
    cluster.finish(Rules::default()).await;
}
