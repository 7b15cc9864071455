//! Logs from which events are removed that a client has not read yet.

use crate::{
    checker::Rules,
    client::Mode,
    cluster::{Cluster, NODES, Run, TOPIC},
    history::Kind,
    log::{Log, log_key},
    node::Publish,
    redis_servers::{
        server::{IN_MEMORY, Program, Server},
        until,
    },
};

/// The number of events that the nodes keep.
const KEEP: usize = 20;

/// Slow clients are overtaken, clients that were away for too long get a gap, and an administrator
/// trims the log. The number of missed events in each gap is exact.
pub(crate) async fn trimmed_log(run: Run) {
    let server = Server::start_program(&Program::new(&*run.server), IN_MEMORY).await;
    let mut cluster = Cluster::start_on(run, server, KEEP).await;
    let mut add = |mode: fn(usize) -> Mode| -> Vec<usize> {
        let clients = 0..2 * NODES;
        clients
            .map(|client| cluster.add_client(mode(client % NODES)))
            .collect()
    };
    let (live, slow, away) = (add(Mode::At), add(Mode::At), add(Mode::At));
    let newest = cluster.publish_stubbornly(0, 1).await;
    cluster
        .received(&[&live[..], &slow, &away].concat(), &newest)
        .await;
    for client in &slow {
        cluster.clients[*client].set_mode(Mode::Stuck);
    }
    for client in &away {
        cluster.clients[*client].set_mode(Mode::Away);
    }
    // These are far more events than the buffers of a connection can hold.
    for value in 2..260 {
        let event = Publish {
            value,
            len: 100_000,
            ..Publish::default()
        };
        let node = cluster.rng.usize(..NODES);
        cluster.store(node, TOPIC, event).await;
    }
    let log = Log::read(&cluster.server, TOPIC).await;
    assert_eq!(log.events.len(), KEEP + 1, "the log keeps one more event");
    let kept = log.events[KEEP + 1 - 5].number;
    let entries: Vec<(String, redis::Value)> = cluster
        .server
        .run(&["XREVRANGE", &log_key(TOPIC), "+", "-", "COUNT", "5"])
        .await;
    let oldest = &entries.last().unwrap().0;
    assert!(oldest.ends_with(&format!("-{kept}")), "{oldest} {kept}");
    let _: u64 = cluster
        .server
        .run(&["XTRIM", &log_key(TOPIC), "MINID", oldest])
        .await;
    // This node reads only what is left.
    cluster.kill_node(2);
    cluster.start_node(2).await;
    let newest = cluster.publish_stubbornly(1, 300).await;
    for client in slow.iter().chain(&away) {
        cluster.clients[*client].set_mode(Mode::At(client % NODES));
    }
    until("the slow clients have read a gap", async || {
        let has_gap = |client: &usize| {
            let is_gap = |kind: &Kind| matches!(kind, Kind::Gap { .. });
            cluster.clients[*client].history.count(is_gap) > 0
        };
        slow.iter().all(has_gap)
    })
    .await;
    cluster
        .received(&[&live[..], &slow, &away].concat(), &newest)
        .await;
    for client in away {
        let gaps = cluster.gaps(client);
        assert_eq!(gaps.len(), 1, "client {client}: {gaps:?}");
        assert!(gaps[0].0 == "too_old" && gaps[0].1.is_some(), "{gaps:?}");
    }
    for client in slow.iter().filter(|client| **client % NODES < 2) {
        // If the node has disconnected the client in the meantime, the client was away as well.
        let gaps = cluster.gaps(*client);
        assert!(matches!(&*gaps[0].0, "overtaken" | "too_old"), "{gaps:?}");
        assert!(gaps[0].1.is_some(), "{gaps:?}");
    }
    cluster
        .finish(Rules {
            may_lose: false,
            is_trimmed: true,
            gaps: &["too_old", "overtaken"],
        })
        .await;
}
