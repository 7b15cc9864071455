//! The pub/sub connections of the nodes fail or are slow.

use std::time::Duration;

use crate::{
    checker::Rules,
    client::Mode,
    cluster::{Cluster, NODES, Run, TOPIC},
    history::Kind,
    node::Publish,
    redis_servers::server::IN_MEMORY,
};

/// The feed loses events in several ways, and no further events follow that would reveal the loss.
/// All clients still receive the lost events.
pub(crate) async fn feed_is_cut(run: Run) {
    let mut cluster = Cluster::start(run, IN_MEMORY).await;
    // A client that arrived from another node would make the node read the log.
    let live: Vec<usize> = (0..16 * NODES)
        .map(|client| cluster.add_client(Mode::At(client % NODES)))
        .collect();
    let newest = cluster.publish_stubbornly(0, 1).await;
    cluster.received(&live, &newest).await;
    let mut faults = [0, 1, 2, 3];
    cluster.rng.shuffle(&mut faults);
    for (round, fault) in (1..).zip(faults) {
        let node = cluster.rng.usize(..NODES);
        let other = (node + 1) % NODES;
        let mut len = 0;
        match fault {
            0 => cluster.proxies[node].stall_subscribers(),
            1 => {
                let killed = cluster.server.run(&["CLIENT", "KILL", "TYPE", "pubsub"]);
                let _: u64 = killed.await;
            }
            2 => cluster.proxies[node].drop_messages(true),
            _ => {
                // The server disconnects a subscriber that does not read.
                set_output_limit(&cluster, "32kb").await;
                cluster.proxies[node].stall_subscribers();
                len = 15_000;
            }
        }
        let mut newest = String::new();
        for index in 0..if len > 0 { 700 } else { 5 } {
            let event = Publish {
                value: round * 1_000 + index,
                len,
                ..Publish::default()
            };
            newest = cluster.store(other, TOPIC, event).await;
        }
        cluster.proxies[node].drop_messages(false);
        cluster.received(&live, &newest).await;
        set_output_limit(&cluster, "32mb").await;
        cluster.heal();
    }
    cluster.finish(Rules::default()).await;
}

async fn set_output_limit(cluster: &Cluster, limit: &str) {
    let limit = format!("pubsub {limit} 0 0");
    let command = ["CONFIG", "SET", "client-output-buffer-limit", &limit];
    let () = cluster.server.run(&command).await;
}

/// Clients leave a node that has the newest events for a node whose feed is delayed, and return.
pub(crate) async fn client_leaves_the_node_that_is_ahead(run: Run) {
    let mut cluster = Cluster::start(run, IN_MEMORY).await;
    let hopping: Vec<usize> = (0..24).map(|_| cluster.add_client(Mode::At(0))).collect();
    let delayed = cluster.add_client(Mode::At(1));
    let newest = cluster.publish_stubbornly(0, 1).await;
    cluster.received(&hopping, &newest).await;
    cluster.received(&[delayed], &newest).await;
    cluster.proxies[1].delay_messages(Duration::from_secs(2));
    let mut hops_ahead = 0;
    for value in 2..80 {
        let newest = cluster.publish_stubbornly(0, value).await;
        let client = hopping[usize::try_from(value).unwrap() % hopping.len()];
        cluster.received(&hopping[..1], &newest).await;
        let is_it = |kind: &Kind| matches!(kind, Kind::Event { id, .. } if *id == newest);
        let at_delayed = cluster.clients[delayed].history.count(is_it);
        hops_ahead += usize::from(at_delayed == 0);
        let node = if cluster.rng.bool() { 1 } else { 0 };
        if client != hopping[0] {
            cluster.clients[client].set_mode(Mode::At(node));
        }
        cluster.pause(0..40).await;
    }
    assert!(hops_ahead > 10, "{hops_ahead}");
    cluster.finish(Rules::default()).await;
}
