//! Topics that end.

use std::time::Duration;

use crate::{
    checker::Rules,
    client::Mode,
    cluster::{Cluster, NODES, Run, TOPIC},
    history::Kind,
    log::Log,
    publisher::Outcome,
    redis_servers::{server::DURABLE, until},
};

/// Two nodes finish a topic while all nodes publish to it. Nothing follows the end, even after
/// everything has been restarted.
pub(crate) async fn topic_is_finished_by_two_nodes(run: Run) {
    let mut cluster = Cluster::start(run, DURABLE).await;
    let clients: Vec<usize> = (0..48)
        .map(|client| {
            cluster.add_client(if client % 4 == 0 {
                Mode::Stay
            } else {
                Mode::Roam
            })
        })
        .collect();
    cluster.publish_all_the_time(4, Duration::from_millis(5));
    cluster.confirmed(100).await;
    let path = format!("/topics/{TOPIC}/end");
    let (one, other) = tokio::join!(cluster.post(0, &path), cluster.post(1, &path));
    assert_eq!((&*one, &*other), ("finished", "finished"));
    cluster.stop_publishers().await;
    assert!(Log::read(&cluster.server, TOPIC).await.is_ended);
    for number in 0..NODES {
        let late = cluster.publish(number, 1_000_000).await;
        assert_eq!(late, Outcome::Finished);
    }
    let ended = async |is_end: fn(&Kind) -> bool| {
        until("all clients have received the end", async || {
            let has_ended = |client: &usize| cluster.clients[*client].history.count(is_end) > 0;
            clients.iter().all(has_ended)
        })
        .await;
    };
    ended(|kind| matches!(kind, Kind::Done { .. })).await;
    ended(|kind| matches!(kind, Kind::Opened { status: 204, .. })).await;
    for client in &clients {
        cluster.clients[*client].set_mode(Mode::Away);
    }
    for number in 0..NODES {
        cluster.kill_node(number);
    }
    cluster.server.kill().await;
    cluster.server.restart().await;
    let count = |cluster: &Cluster, client: usize| {
        let is_204 = |kind: &Kind| matches!(kind, Kind::Opened { status: 204, .. });
        cluster.clients[client].history.count(is_204)
    };
    let before: Vec<usize> = clients
        .iter()
        .map(|client| count(&cluster, *client))
        .collect();
    for number in 0..NODES {
        cluster.start_node(number).await;
        let late = cluster.publish(number, 1_000_000).await;
        assert_eq!(late, Outcome::Finished);
    }
    for client in &clients {
        cluster.clients[*client].set_mode(Mode::At(client % NODES));
    }
    until("all clients have reconnected", async || {
        clients
            .iter()
            .all(|client| count(&cluster, *client) > before[*client])
    })
    .await;
    cluster.finish(Rules::default()).await;
}
