//! Replicas that are promoted.

use std::{ops::Range, time::Duration};

use tokio::time::timeout;

use crate::{
    checker::Rules,
    client::Mode,
    cluster::{Cluster, NODES, Run, TOPIC},
    history::Kind,
    log::{Log, entries},
    node::Publish,
    publisher::Outcome,
    redis_servers::{
        proxy::Proxy,
        replication::replicated,
        sentinels::{Sentinels, THREE},
        server::Server,
        until,
    },
    replication::{promote, start_master, start_replica},
};

const ROLLED_BACK: Rules = Rules {
    may_lose: true,
    is_trimmed: false,
    gaps: &["rolled_back"],
};

/// Kills the master, and promotes the replica. Before any node reaches the replica, another process
/// publishes these values there.
async fn fail_over(cluster: &mut Cluster, replica: Server, values: Range<u64>) {
    for proxy in &cluster.proxies {
        proxy.redirect(0);
    }
    cluster.server.kill().await;
    promote(&replica).await;
    cluster.publish_elsewhere(&replica, values).await;
    for proxy in &cluster.proxies {
        proxy.redirect(replica.port());
        proxy.cut();
    }
    cluster.server = replica;
}

/// The master is killed while the replication is healthy or has briefly stopped. A client gets a
/// gap only if it has received an event that the replica had not received.
pub(crate) async fn failover(run: Run) {
    let program = run.server.clone();
    let mut cluster = Cluster::start_on(run, start_master(&program).await, 100_000).await;
    cluster.add_crowd(64).await;
    cluster.publish_all_the_time(4, Duration::from_millis(10));
    for _ in 0..3 {
        let (replica, replication) = start_replica(&program, &cluster.server).await;
        cluster.confirmed(20).await;
        cluster.shuffle();
        if cluster.rng.bool() {
            replication.stall();
            cluster.pause(0..100).await;
        }
        fail_over(&mut cluster, replica, 0..0).await;
        cluster.confirmed(20).await;
    }
    cluster.finish(ROLLED_BACK).await;
}

/// Sentinels promote the replica after the master has been killed.
pub(crate) async fn sentinel_failover(run: Run) {
    let program = run.server.clone();
    let master = start_master(&program).await;
    // The sentinels must learn the replica's own address, so the replica connects to the master
    // without a proxy.
    let (replica, replication) = start_replica(&program, &master).await;
    let port = master.port().to_string();
    let () = replica.run(&["REPLICAOF", "127.0.0.1", &port]).await;
    drop(replication);
    let sentinels = Sentinels::start(master.port(), THREE).await;
    let mut cluster = Cluster::without_nodes(run, master, 100_000).await;
    cluster.settings.url = sentinels.url();
    for number in 0..NODES {
        cluster.start_node(number).await;
    }
    cluster.add_crowd(64).await;
    cluster.publish_all_the_time(4, Duration::from_millis(10));
    cluster.confirmed(40).await;
    cluster.shuffle();
    cluster.server.kill().await;
    cluster.server = replica;
    cluster.confirmed(40).await;
    cluster.finish(ROLLED_BACK).await;
}

/// A cluster whose replica has received ten events, and the clients that have received them.
struct Tail {
    cluster: Cluster,
    replica: Server,
    replication: Proxy,
    /// Clients that stay connected.
    live: Vec<usize>,
    /// Clients that disconnect after they have received the events that will be lost.
    affected: Vec<usize>,
    /// Clients that disconnect before that.
    unaffected: Vec<usize>,
}

impl Tail {
    async fn start(run: Run) -> Self {
        let program = run.server.clone();
        let master = start_master(&program).await;
        let (replica, replication) = start_replica(&program, &master).await;
        let mut cluster = Cluster::start_on(run, master, 100_000).await;
        let mut add = |count: usize| -> Vec<usize> {
            let clients = 0..count;
            clients
                .map(|client| cluster.add_client(Mode::At(client % NODES)))
                .collect()
        };
        let (live, affected, unaffected) = (add(30), add(12), add(12));
        let mut newest = String::new();
        for value in 1..=10 {
            newest = cluster.publish_stubbornly(0, value).await;
        }
        let all = [&live[..], &affected, &unaffected].concat();
        cluster.received(&all, &newest).await;
        replicated(&cluster.server, &replica).await;
        disconnect(&cluster, &unaffected).await;
        replication.black_hole();
        Self {
            cluster,
            replica,
            replication,
            live,
            affected,
            unaffected,
        }
    }

    /// Waits until the clients have received the event with this id, which will be lost.
    async fn receive_lost(&self, id: &str) {
        let readers = [&self.live[..], &self.affected].concat();
        self.cluster.received(&readers, id).await;
        disconnect(&self.cluster, &self.affected).await;
    }

    /// Promotes the replica, and publishes these values there.
    async fn fail_over(self, values: Range<u64>) -> (Cluster, [Vec<usize>; 3]) {
        let mut cluster = self.cluster;
        fail_over(&mut cluster, self.replica, values).await;
        drop(self.replication);
        (cluster, [self.live, self.affected, self.unaffected])
    }
}

async fn disconnect(cluster: &Cluster, clients: &[usize]) {
    for client in clients {
        cluster.clients[*client].set_mode(Mode::Away);
    }
    until("the clients are disconnected", async || {
        let is_away = |client: &usize| {
            let items = cluster.items(*client);
            matches!(items.last().unwrap().kind, Kind::Broken)
        };
        clients.iter().all(is_away)
    })
    .await;
}

/// Lets the clients reconnect, checks that exactly the affected ones get a gap, and checks all
/// invariants.
async fn reconnect(mut cluster: Cluster, clients: [Vec<usize>; 3], newest: &str) {
    let [live, affected, unaffected] = clients;
    // If the event does not arrive, the checker shows why.
    let patience = Duration::from_secs(10);
    let _ = timeout(patience, cluster.received(&live, newest)).await;
    for client in affected.iter().chain(&unaffected) {
        let node = cluster.rng.usize(..NODES);
        cluster.clients[*client].set_mode(Mode::At(node));
    }
    let returned = [&affected[..], &unaffected].concat();
    let _ = timeout(patience, cluster.received(&returned, newest)).await;
    let gaps: Vec<_> = (0..cluster.clients.len())
        .map(|client| cluster.gaps(client).len())
        .collect();
    // If an invariant is violated, the checker's message is more helpful than a wrong number.
    cluster.finish(ROLLED_BACK).await;
    for client in live.iter().chain(&affected) {
        assert_eq!(gaps[*client], 1, "client {client}");
    }
    for client in unaffected {
        assert_eq!(gaps[client], 0, "client {client}");
    }
}

/// The master confirms events that the replica has not received, and is then killed. Before the
/// nodes reach the replica, a greater number of other events is published there, so only the marks
/// reveal the loss.
pub(crate) async fn lost_tail(run: Run) {
    let mut tail = Tail::start(run).await;
    let lost = tail.cluster.rng.u64(1..8);
    let mut newest = String::new();
    for value in 100..100 + lost {
        let node = tail.cluster.rng.usize(..NODES);
        newest = tail.cluster.publish_stubbornly(node, value).await;
    }
    tail.receive_lost(&newest).await;
    let (mut cluster, clients) = tail.fail_over(200..203 + lost).await;
    for value in 300..305 {
        let node = cluster.rng.usize(..NODES);
        newest = cluster.publish_stubbornly(node, value).await;
    }
    reconnect(cluster, clients, &newest).await;
}

/// The last of the lost events is not confirmed, so its publisher publishes it again with the same
/// key. It gets the same number as before, but follows another event.
pub(crate) async fn lost_tail_with_a_retried_key(run: Run) {
    let mut tail = Tail::start(run).await;
    tail.cluster.publish_stubbornly(0, 100).await;
    let before = entries(&tail.cluster.server, TOPIC).await;
    tail.cluster.proxies[0].hold_replies(true);
    let event = Publish {
        value: 101,
        key: Some(format!("{:032x}", tail.cluster.rng.u128(..))),
        ..Publish::default()
    };
    let path = format!("/topics/{TOPIC}");
    let attempt = tail.cluster.publishing.attempt(0, &path, &event);
    let attempted = attempt.await;
    assert!(
        matches!(attempted, Some(Outcome::Unknown(_))),
        "{attempted:?}"
    );
    assert_eq!(entries(&tail.cluster.server, TOPIC).await, before + 1);
    tail.cluster.proxies[0].hold_replies(false);
    let log = Log::read(&tail.cluster.server, TOPIC).await;
    tail.receive_lost(log.newest().unwrap()).await;
    let (mut cluster, clients) = tail.fail_over(200..201).await;
    let retried = loop {
        let retried = cluster.publish_event(1, 101, event.key.clone()).await;
        if let Outcome::Ok(id) = retried {
            break id;
        }
    };
    let number = |id: &str| id.split_once('.').unwrap().0.to_owned();
    assert_eq!(number(&retried), number(log.newest().unwrap()));
    let newest = cluster.publish_stubbornly(1, 201).await;
    reconnect(cluster, clients, &newest).await;
}
