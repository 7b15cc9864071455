//! Runs random sequences of operations and faults.

use std::{
    env,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use proptest::{collection::vec, prelude::*, test_runner::Config};
use sse_runtime::{
    EventId, Start, Topic,
    topic::{
        PublishError, Subscription,
        engine::{Key, Kind, Node},
    },
};
use tokio::task::yield_now;

use super::{
    checker::{Seen, check_history, check_tail, without_count},
    server::{Outcome, Server, TOPIC},
};

const NODES: usize = 2;

/// The number of events that each topic keeps. It is small, so that readers are overtaken.
const KEPT: usize = 8;

/// The number of clients.
const CLIENTS: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Op {
    Open(usize),
    Publish(usize),
    /// The confirmation is lost before or after the event is stored. The publisher tries again with
    /// the same key.
    Retry {
        node: usize,
        is_stored: bool,
    },
    Finish(usize),
    /// A client connects to a node and sends its last id, if it has one.
    Connect {
        client: usize,
        node: usize,
    },
    /// A client reads some events.
    Read {
        client: usize,
        events: u8,
    },
    Deliver(usize),
    Drop(usize),
    Repeat(usize),
    Swap(usize),
    Lose(usize),
    Trim(usize),
    Forget,
    Down(usize),
    Up(usize),
    Cut(usize),
    /// The feed is restored. The node must then notice at once that it has missed records.
    Restore(usize),
    /// From now on, reads take their snapshots later and return later.
    Slow(u8, u8),
    /// Time passes, but less than the interval between checks.
    Wait,
}

fn op() -> impl Strategy<Value = Op> {
    let node = || 0..NODES;
    prop_oneof![
        3 => node().prop_map(Op::Open),
        12 => node().prop_map(Op::Publish),
        2 => (node(), any::<bool>()).prop_map(|(node, is_stored)| Op::Retry { node, is_stored }),
        1 => node().prop_map(Op::Finish),
        6 => (0..CLIENTS, node()).prop_map(|(client, node)| Op::Connect { client, node }),
        8 => (0..CLIENTS, 1..5_u8).prop_map(|(client, events)| Op::Read { client, events }),
        12 => node().prop_map(Op::Deliver),
        2 => node().prop_map(Op::Drop),
        1 => node().prop_map(Op::Repeat),
        1 => node().prop_map(Op::Swap),
        2 => (1..4_usize).prop_map(Op::Lose),
        1 => (1..6_usize).prop_map(Op::Trim),
        1 => Just(Op::Forget),
        1 => node().prop_map(Op::Down),
        2 => node().prop_map(Op::Up),
        1 => node().prop_map(Op::Cut),
        2 => node().prop_map(Op::Restore),
        1 => (0..3_u8, 0..3_u8).prop_map(|(first, second)| Op::Slow(first, second)),
        1 => Just(Op::Wait),
    ]
}

/// Operations without faults. Each client stays with its node.
fn steady_op() -> impl Strategy<Value = Op> {
    let client = || 0..CLIENTS;
    prop_oneof![
        6 => (0..NODES).prop_map(Op::Publish),
        3 => client().prop_map(|client| Op::Connect { client, node: client % NODES }),
        6 => (client(), 1..5_u8).prop_map(|(client, events)| Op::Read { client, events }),
        8 => (0..NODES).prop_map(Op::Deliver),
        1 => (0..3_u8, 0..3_u8).prop_map(|(first, second)| Op::Slow(first, second)),
    ]
}

#[derive(Default)]
struct Client {
    history: Vec<Seen>,
    last: Option<EventId>,
    /// The node and the subscription, while the client is connected.
    reading: Option<(usize, Subscription<u64>)>,
}

impl Client {
    /// Reads up to `events` available events. Returns whether there may be more.
    fn read(&mut self, events: usize) -> bool {
        let Some((_, updates)) = &mut self.reading else {
            return false;
        };
        for _ in 0..events {
            let seen = match poll_once(updates.recv()) {
                Poll::Pending => return false,
                Poll::Ready(Some(Ok(update))) => {
                    self.last = Some(update.id().clone());
                    Seen::Event {
                        id: without_count(update.id()),
                        value: *update,
                    }
                }
                Poll::Ready(Some(Err(gap))) => {
                    self.last = Some(gap.position().clone());
                    Seen::Gap {
                        reason: gap.reason(),
                        missed: gap.missed(),
                        id: without_count(gap.position()),
                    }
                }
                Poll::Ready(None) => {
                    if !matches!(self.history.last(), Some(Seen::End)) {
                        self.history.push(Seen::End);
                    }
                    return false;
                }
            };
            // A real client that has received the end does not reconnect, unless the end was rolled
            // back. The test reconnects it anyway, so start a new history.
            if let Some(Seen::End) = self.history.last() {
                self.history.clear();
            }
            self.history.push(seen);
        }
        true
    }
}

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Runs the nodes' tasks until they are idle, without advancing the time.
async fn settle() {
    for _ in 0..60 {
        yield_now().await;
    }
}

/// Like [`settle`], but also waits for repairs requested by readers, which may be delayed by 100 ms.
/// This delay is much shorter than the interval between checks.
async fn settle_readers() {
    settle().await;
    tokio::time::sleep(Duration::from_millis(101)).await;
    settle().await;
}

/// The topic's overflow policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Skip,
    Latest,
    LatestBy,
}

fn policy() -> impl Strategy<Value = Policy> {
    prop_oneof![
        4 => Just(Policy::Skip),
        1 => Just(Policy::Latest),
        2 => Just(Policy::LatestBy),
    ]
}

struct World {
    policy: Policy,
    server: Server,
    nodes: Vec<Node>,
    topics: Vec<Option<Topic<u64>>>,
    clients: Vec<Client>,
    value: u64,
    /// Whether the engine has ever been down, so that a repair may be waiting for its next attempt.
    has_been_down: bool,
    /// The keys of all events that the engine has confirmed.
    confirmed: Vec<Key>,
    can_lose: bool,
}

impl World {
    fn new(policy: Policy) -> Self {
        let server = Server::new(NODES);
        Self {
            policy,
            nodes: (0..NODES)
                .map(|node| Node::new(server.engine(node)))
                .collect(),
            topics: vec![None; NODES],
            clients: (0..CLIENTS).map(|_| Client::default()).collect(),
            server,
            value: 0,
            has_been_down: false,
            confirmed: Vec::new(),
            can_lose: false,
        }
    }

    async fn open(&mut self, node: usize) {
        if self.topics[node].is_none() {
            let builder = Topic::builder().keep(KEPT);
            let builder = match self.policy {
                Policy::Skip => builder,
                Policy::Latest => builder.latest(),
                Policy::LatestBy => builder.latest_by(|value: &u64| value % 3),
            };
            self.topics[node] = builder.open(&self.nodes[node], TOPIC).await.ok();
        }
    }

    /// Opens the topic while node 0 publishes and both feeds deliver.
    async fn open_while_publishing(&mut self, node: usize) {
        let Some(topic) = self.topics[0].clone() else {
            return;
        };
        self.server.state().delays = (1, 2);
        let opening = Topic::builder().keep(KEPT).open(&self.nodes[node], TOPIC);
        let publishing = async {
            for value in 1_000..1_006 {
                topic.publish(&value).await.unwrap();
                while self.server.deliver(0) || self.server.deliver(node) {}
                yield_now().await;
            }
        };
        let (opened, ()) = tokio::join!(opening, publishing);
        self.topics[node] = opened.ok();
        self.server.state().delays = (0, 0);
    }

    async fn publish(&mut self, node: usize, outcome: Outcome) {
        let Some(topic) = self.topics[node].clone() else {
            return;
        };
        self.value += 1;
        let key = Key::from(u128::from(self.value));
        self.server.state().outcome = outcome;
        let mut published = topic.publish_with_key(key, &self.value).await;
        self.server.state().outcome = Outcome::Stored;
        if let Err(PublishError::Unknown { key: unknown, .. }) = published {
            assert_eq!(unknown, key);
            published = topic.publish_with_key(key, &self.value).await;
        }
        let stored = |key| {
            let state = self.server.state();
            let records = state.log.records.iter();
            records.filter(|stored| stored.record.key == key).count()
        };
        match published {
            Ok(id) => {
                assert_eq!(stored(key), 1, "{id} is not stored");
                self.confirmed.push(key);
            }
            Err(PublishError::Unavailable { .. } | PublishError::Finished)
                if outcome == Outcome::Stored =>
            {
                assert_eq!(stored(key), 0);
            }
            Err(PublishError::Unavailable { .. } | PublishError::Finished) => {}
            Err(error) => panic!("{error}"),
        }
    }

    async fn run(&mut self, op: Op) {
        match op {
            Op::Open(node) => self.open(node).await,
            Op::Publish(node) => self.publish(node, Outcome::Stored).await,
            Op::Retry { node, is_stored } => {
                let outcome = match is_stored {
                    true => Outcome::LostAfter,
                    false => Outcome::LostBefore,
                };
                self.publish(node, outcome).await;
            }
            Op::Finish(node) => {
                if let Some(topic) = self.topics[node].clone()
                    && topic.finish().await.is_ok()
                {
                    let has_ended = self.server.state().log.has_ended();
                    assert!(has_ended || self.can_lose);
                }
            }
            Op::Connect { client, node } => {
                let Some(topic) = &self.topics[node] else {
                    return;
                };
                let client = &mut self.clients[client];
                let updates = match client.last.clone() {
                    Some(last) => topic.subscribe(last),
                    None => topic.subscribe(Start::First),
                };
                client.reading = Some((node, updates));
            }
            Op::Read { client, events } => {
                self.clients[client].read(events.into());
            }
            Op::Deliver(node) => {
                self.server.deliver(node);
            }
            Op::Drop(node) => self.server.tamper(node, |records| {
                records.pop_front();
            }),
            Op::Repeat(node) => self.server.tamper(node, |records| {
                records.extend(records.front().cloned());
            }),
            Op::Swap(node) => self.server.tamper(node, |records| {
                if records.len() > 1 {
                    records.swap(0, 1);
                }
            }),
            Op::Lose(count) => {
                self.can_lose = true;
                self.server.lose(count);
            }
            Op::Trim(count) => {
                self.can_lose = true;
                self.server.trim(count);
            }
            Op::Forget => {
                self.can_lose = true;
                self.server.forget();
            }
            Op::Down(node) => {
                self.has_been_down = true;
                self.server.set_down(node, true);
            }
            Op::Up(node) => self.server.set_down(node, false),
            Op::Cut(node) => self.server.set_cut(node, true),
            Op::Restore(node) => {
                self.server.set_cut(node, false);
                self.server.reconnected(node);
                if !self.has_been_down {
                    settle_readers().await;
                    self.check_ring(node);
                }
            }
            Op::Slow(first, second) => self.server.state().delays = (first, second),
            Op::Wait => tokio::time::advance(Duration::from_millis(700)).await,
        }
        yield_now().await;
    }

    /// Returns whether a reader receives consecutive events after a gap.
    fn is_consecutive(&self) -> bool {
        self.policy != Policy::LatestBy
    }

    /// Checks that a new reader of this node receives the newest event.
    fn check_ring(&self, node: usize) {
        let Some(topic) = &self.topics[node] else {
            return;
        };
        let mut client = Client {
            reading: Some((node, topic.subscribe(Start::First))),
            ..Client::default()
        };
        while client.read(100) {}
        check_history(&self.server, &client.history, self.is_consecutive());
        check_tail(&self.server, &client.history);
        let newest = {
            let state = self.server.state();
            let mut records = state.log.records.iter().rev();
            records.any(|stored| stored.record.kind == Kind::Event)
        };
        assert!(!newest || !client.history.is_empty(), "the ring is empty");
    }

    /// Ends all faults, and checks that all rings and clients then agree with the log.
    async fn heal(&mut self) {
        self.server.state().delays = (0, 0);
        for node in 0..NODES {
            self.server.set_down(node, false);
            self.server.set_cut(node, false);
            while self.server.deliver(node) {}
            self.server.reconnected(node);
        }
        if self.has_been_down {
            // Longer than the longest delay between attempts to repair a topic.
            tokio::time::sleep(Duration::from_secs(6)).await;
        }
        settle_readers().await;
        for node in 0..NODES {
            self.check_ring(node);
        }
        let is_consecutive = self.is_consecutive();
        for client in &mut self.clients {
            if client.reading.is_none() {
                continue;
            }
            while client.read(100) {}
            check_history(&self.server, &client.history, is_consecutive);
            let is_over = matches!(client.history.last(), Some(Seen::End));
            // If the engine loses the end after a client has received it, the client cannot be
            // corrected.
            if is_over && self.can_lose {
                continue;
            }
            check_tail(&self.server, &client.history);
            let has_ended = self.server.state().log.has_ended();
            assert_eq!(is_over, has_ended, "{:?}", client.history);
        }
        let state = self.server.state();
        let keys = state.log.records.iter().map(|stored| stored.record.key);
        let keys: Vec<Key> = keys.collect();
        for key in &keys {
            assert_eq!(keys.iter().filter(|other| *other == key).count(), 1);
        }
        if !self.can_lose {
            assert!(self.confirmed.iter().all(|key| keys.contains(key)));
        }
    }
}

fn run(ops: &[Op], policy: Policy, is_steady: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::new(policy);
        let mut reads = [0; NODES];
        if is_steady {
            world.open(0).await;
            world.open_while_publishing(1).await;
            reads = [0, 1].map(|node| world.server.reads(node));
            assert_eq!(reads[0], 1);
        }
        for op in ops {
            world.run(*op).await;
        }
        if is_steady {
            for (node, reads) in reads.into_iter().enumerate() {
                while world.server.deliver(node) {}
                settle().await;
                world.check_ring(node);
                // The log was read only when the topic was opened.
                assert_eq!(world.server.reads(node), reads);
            }
        }
        world.heal().await;
    });
}

fn config(cases: u32) -> Config {
    let set = env::var("CASES").ok().and_then(|cases| cases.parse().ok());
    Config {
        cases: set.unwrap_or(cases),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(config(20_000))]

    #[test]
    fn clients_lose_nothing_without_a_gap(ops in vec(op(), 1..60), policy in policy()) {
        run(&ops, policy, false);
    }
}

proptest! {
    #![proptest_config(config(1_000))]

    #[test]
    fn steady_feed_is_followed_without_reads(ops in vec(steady_op(), 1..60)) {
        run(&ops, Policy::Skip, true);
    }
}

/// The engine has lost a topic's end, and has trimmed the first events that were stored in its place.
#[test]
fn topic_continues_after_a_lost_end() {
    let ops = [
        Op::Open(1),
        Op::Finish(1),
        Op::Open(0),
        Op::Lose(1),
        Op::Publish(0),
        Op::Publish(0),
        Op::Publish(0),
        Op::Trim(2),
        Op::Deliver(0),
        Op::Lose(1),
    ];
    // Without the last operation, the engine does not lose the topic's newest event.
    for ops in [&ops[..], &ops[..ops.len() - 1]] {
        run(ops, Policy::Skip, false);
    }
}

/// The engine has lost all events that a node holds, but still has an older event that the node has
/// evicted.
#[test]
fn older_events_are_read_again_after_a_loss() {
    let publishes = [Op::Publish(0); KEPT + 1];
    let ops = [&[Op::Open(0)], &publishes[..], &[Op::Lose(KEPT)]];
    run(&ops.concat(), Policy::Skip, false);
    // The log ends even before the events that the node has evicted.
    let publishes = [Op::Publish(0); KEPT + 2];
    let ops = [&[Op::Open(0)], &publishes[..], &[Op::Lose(KEPT + 1)]];
    run(&ops.concat(), Policy::Skip, false);
}
