//! A deployment of a new version, node by node.

use crate::{
    checker::Rules,
    client::Mode,
    cluster::{Cluster, NODES, Run, TOPIC},
    node::{Publish, Settings},
    redis_servers::server::{IN_MEMORY, Program, Server},
};

/// The new version publishes a variant that the old version cannot decode. Readers that decode
/// values get a gap at old nodes. All other readers get the event.
pub(crate) async fn rolling_deployment(run: Run) {
    let server = Server::start_program(&Program::new(&*run.server), IN_MEMORY).await;
    let mut cluster = Cluster::without_nodes(run, server, 100_000).await;
    for number in 0..NODES {
        let settings = Settings {
            is_old: number < 2,
            ..cluster.settings.clone()
        };
        let started = cluster.start_node_with(number, settings, &[]);
        started.await.unwrap();
    }
    let typed = format!("/typed/{TOPIC}");
    let mut clients = Vec::new();
    for client in 0..6 * NODES {
        clients.push(cluster.add_client_of(&typed, Mode::At(client % NODES)));
    }
    for client in 0..4 * NODES {
        clients.push(cluster.add_client(Mode::At(client % NODES)));
    }
    let mut newest = cluster.publish_stubbornly(0, 1).await;
    cluster.received(&clients, &newest).await;
    for value in 2..20 {
        newest = match value % 3 {
            0 => publish_renamed(&mut cluster, value).await,
            _ => {
                let node = cluster.rng.usize(..NODES);
                cluster.publish_stubbornly(node, value).await
            }
        };
    }
    cluster.received(&clients, &newest).await;
    let gaps: Vec<usize> = clients
        .iter()
        .map(|client| cluster.gaps(*client).len())
        .collect();
    for (client, gaps) in gaps.iter().enumerate() {
        let is_affected = client < 6 * NODES && client % NODES < 2;
        assert_eq!(*gaps, if is_affected { 6 } else { 0 }, "client {client}");
    }

    // Typed clients also roam between the versions, and the last nodes are replaced.
    for client in &clients {
        cluster.clients[*client].set_mode(Mode::Roam);
    }
    for number in 0..2 {
        for value in 0..5 {
            publish_renamed(&mut cluster, 100 * (1 + number as u64) + value).await;
        }
        cluster.kill_node(number);
        cluster.start_node(number).await;
    }
    let before: usize = clients
        .iter()
        .map(|client| cluster.gaps(*client).len())
        .sum();
    for value in 300..310 {
        newest = publish_renamed(&mut cluster, value).await;
    }
    cluster.received(&clients, &newest).await;
    let after: usize = clients
        .iter()
        .map(|client| cluster.gaps(*client).len())
        .sum();
    assert_eq!(after, before, "no node runs the old version");
    cluster
        .finish(Rules {
            gaps: &["unreadable"],
            ..Rules::default()
        })
        .await;
}

/// Publishes the new variant through the node that runs the new version.
async fn publish_renamed(cluster: &mut Cluster, value: u64) -> String {
    let event = Publish {
        value,
        is_renamed: true,
        ..Publish::default()
    };
    cluster.store(2, TOPIC, event).await
}
