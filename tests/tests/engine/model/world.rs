//! The state of a case: the engine, the nodes and their clients.

use std::time::Duration;

use sse_runtime::{
    Start, Topic,
    topic::{
        PublishError,
        engine::{Key, Kind, Node},
    },
};
use tokio::task::yield_now;

use super::{CLIENTS, KEPT, NODES, Op, Policy, client::Client};
use crate::{
    checker::{Seen, check_history, check_tail},
    server::{Outcome, Server, TOPIC},
};

pub(super) struct World {
    policy: Policy,
    pub(super) server: Server,
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
    pub(super) fn new(policy: Policy) -> Self {
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

    pub(super) async fn open(&mut self, node: usize) {
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
    pub(super) async fn open_while_publishing(&mut self, node: usize) {
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

    pub(super) async fn run(&mut self, op: Op) {
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
    pub(super) fn check_ring(&self, node: usize) {
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
    pub(super) async fn heal(&mut self) {
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

/// Runs the nodes' tasks until they are idle, without advancing the time.
pub(super) async fn settle() {
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
