//! Many clients that reconnect at once.

use crate::{
    client::Mode,
    cluster::{Cluster, NODES, Run},
    history::Kind,
    node::Publish,
    redis_servers::{server::IN_MEMORY, until},
};

const CLIENTS: usize = 1_000;
const TOPICS: usize = 10;
const EVENTS: u64 = 20;

/// A node with 1,000 clients is killed, and all of them reconnect to another node. The number of
/// commands depends on the number of topics and nodes, but not on the number of clients.
pub(crate) async fn thousand_clients_reconnect(run: Run) {
    rlimit::increase_nofile_limit(20_000).unwrap();
    let mut cluster = Cluster::start(run, IN_MEMORY).await;
    for value in 0..EVENTS {
        publish(&mut cluster, value).await;
    }
    for client in 0..CLIENTS {
        let path = format!("/topics/{}", client % TOPICS);
        cluster.add_client_of(&path, Mode::At(0));
    }
    let all_have = async |cluster: &Cluster, count: usize| {
        until("all clients have received everything", async || {
            let has = |client: usize| {
                let is_event = |kind: &Kind| matches!(kind, Kind::Event { .. });
                cluster.clients[client].history.count(is_event) == count
            };
            (0..CLIENTS).all(has)
        })
        .await;
    };
    let events = usize::try_from(EVENTS).unwrap();
    all_have(&cluster, events).await;
    let before = commands(&cluster).await;
    for client in &cluster.clients {
        client.set_mode(Mode::At(1));
    }
    cluster.kill_node(0);
    until("all clients have reconnected", async || {
        let has = |client: usize| {
            let is_open = |kind: &Kind| matches!(kind, Kind::Opened { status: 200, .. });
            cluster.clients[client].history.count(is_open) == 2
        };
        (0..CLIENTS).all(has)
    })
    .await;
    let after = commands(&cluster).await;
    publish(&mut cluster, EVENTS).await;
    all_have(&cluster, events + 1).await;
    let commands = after - before;
    // The node needs one subscription and one read per topic. In addition, all nodes compare
    // positions every two seconds.
    assert!(commands <= 3 * TOPICS as u64, "{commands} commands");
    for client in 0..CLIENTS {
        let values = cluster.items(client).into_iter();
        let values = values.filter_map(|item| match item.kind {
            Kind::Event { value, .. } => Some(value),
            _ => None,
        });
        assert!(values.eq(0..=EVENTS), "client {client}");
        assert_eq!(cluster.gaps(client), []);
    }
    report(&cluster, commands);
}

#[allow(clippy::print_stderr, reason = "reports what was seen")]
fn report(cluster: &Cluster, commands: u64) {
    eprintln!(
        "{} with CLUSTER_SEED={}: {CLIENTS} clients of {TOPICS} topics caused {commands} commands",
        cluster.run.scenario, cluster.run.seed
    );
}

/// Publishes an event to each topic.
async fn publish(cluster: &mut Cluster, value: u64) {
    for topic in 0..TOPICS {
        let event = Publish {
            value,
            ..Publish::default()
        };
        // A node that is busy with many clients may not confirm the first attempt in time.
        cluster.store(NODES - 1, topic, event).await;
    }
}

/// Returns the number of scripts and subscriptions that the server has executed.
async fn commands(cluster: &Cluster) -> u64 {
    let mut calls = 0;
    for command in ["evalsha", "eval", "subscribe", "unsubscribe"] {
        calls += cluster.server.calls(command).await;
    }
    calls
}
