//! Runs whose nodes are suspended or killed.

use std::time::{Duration, Instant};

use crate::{
    client::Mode,
    cluster::{Cluster, NODES, Run},
    history::Kind,
    log::Log,
    node::RUN_LENGTH,
    redis_servers::{
        server::{DURABLE, Program, Server},
        until,
    },
};

/// The name of the run.
const RUN: &str = "run";

/// The time after which a run is lost.
const TTL: Duration = Duration::from_secs(3);

async fn start(run: Run) -> Cluster {
    let server = Server::start_program(&Program::new(&*run.server), DURABLE).await;
    let mut cluster = Cluster::without_nodes(run, server, 100_000).await;
    cluster.settings.run_ttl = TTL;
    for number in 0..NODES {
        cluster.start_node(number).await;
    }
    cluster
}

/// Starts clients that read the run, two thirds of which stay at one node. Returns their indices.
fn add_clients(cluster: &mut Cluster, kind: &str) -> Vec<usize> {
    let path = format!("/runs/{kind}/{RUN}");
    let mode = |client: usize| match client % 3 {
        0 => Mode::Roam,
        _ => Mode::At(client / 3 % NODES),
    };
    (0..18)
        .map(|client| cluster.add_client_of(&path, mode(client)))
        .collect()
}

/// Returns the nodes that have published the events of the run, in order, without repetitions.
fn publishers(log: &Log) -> Vec<usize> {
    let node = |frame: &[u8]| {
        let json: serde_json::Value = serde_json::from_slice(&frame[b"data: ".len()..]).unwrap();
        let text = json["number"]["text"].as_str().unwrap();
        text.parse::<usize>().unwrap()
    };
    let mut nodes: Vec<usize> = log.events.iter().map(|event| node(&event.frame)).collect();
    nodes.dedup();
    nodes
}

/// Waits until the run has been executed by `count` nodes in turn, and returns the last of them.
async fn owner(cluster: &Cluster, count: usize) -> usize {
    let mut owner = None;
    until("a node executes the run", async || {
        let log = Log::read(&cluster.server, RUN).await;
        let nodes = publishers(&log);
        owner = nodes.last().copied();
        nodes.len() == count
    })
    .await;
    owner.unwrap()
}

/// Waits until all clients have received an item of this kind.
async fn received(cluster: &Cluster, clients: &[usize], is_wanted: fn(&Kind) -> bool) {
    until("the clients have received the end", async || {
        let has = |client: &usize| cluster.clients[*client].history.count(is_wanted) > 0;
        clients.iter().all(has)
    })
    .await;
}

/// Asserts that all clients have received exactly the events of the log.
async fn check(cluster: &Cluster, clients: &[usize]) -> Log {
    let log = Log::read(&cluster.server, RUN).await;
    let values: Vec<u64> = log.events.iter().map(|event| event.value).collect();
    assert!(values.iter().copied().eq(0..values.len() as u64));
    for client in clients {
        let items = cluster.items(*client);
        let received = items.iter().filter_map(|item| match item.kind {
            Kind::Event { value, .. } => Some(value),
            _ => None,
        });
        let received: Vec<u64> = received.collect();
        assert_eq!(received, values, "client {client}");
        assert!(cluster.gaps(*client).is_empty(), "client {client}");
    }
    log
}

/// A node is suspended while it executes a run. Another node ends the run, and the first one publishes
/// nothing more when it continues.
pub(crate) async fn suspended_run_is_ended(run: Run) {
    let mut cluster = start(run).await;
    let clients = add_clients(&mut cluster, "endless");
    let first = owner(&cluster, 1).await;
    let node = cluster.nodes[first].as_ref().unwrap();
    node.suspend(true);
    let suspended = Instant::now();
    until("another node ends the run", async || {
        Log::read(&cluster.server, RUN).await.is_ended
    })
    .await;
    // Another node should end the run after at most 8 seconds, but the machine may be busy.
    assert!(suspended.elapsed() < TTL + Duration::from_secs(15));
    let ended = Log::read(&cluster.server, RUN).await.events.len();
    node.suspend(false);
    let is_lost =
        |kind: &Kind| matches!(kind, Kind::Close { data } if data.contains("producer_lost"));
    received(&cluster, &clients, is_lost).await;
    let log = check(&cluster, &clients).await;
    assert_eq!(log.events.len(), ended);
    assert_eq!(publishers(&log), [first]);
}

/// The node that executes a run is suspended, and then the next one is killed. Each time, another node
/// continues the run.
pub(crate) async fn runs_move_to_other_nodes(run: Run) {
    let mut cluster = start(run).await;
    let clients = add_clients(&mut cluster, "resumable");
    let first = owner(&cluster, 1).await;
    cluster.nodes[first].as_ref().unwrap().suspend(true);
    let second = owner(&cluster, 2).await;
    cluster.nodes[first].as_ref().unwrap().suspend(false);
    cluster.kill_node(second);
    let third = owner(&cluster, 3).await;
    cluster.start_node(second).await;
    received(&cluster, &clients, |kind| matches!(kind, Kind::Done { .. })).await;
    let log = check(&cluster, &clients).await;
    assert_eq!(log.events.len() as u64, RUN_LENGTH);
    assert_eq!(publishers(&log), [first, second, third]);
}
