//! Publishes and reads while random faults occur, and compares each client's history with the log.
//!
//! The environment variable `SECONDS` sets the duration in seconds. The default is 5.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sse_redis::Redis;
use sse_runtime::{EventId, Start, Topic, topic::PublishError};
use support::{
    open_numbers, open_topic, proxy::Proxy, publish_stubbornly, read_all, recv, server::Server,
};
use tokio::{task::JoinSet, time::sleep};

const NODES: usize = 3;
const PUBLISHERS: u64 = 3;
const CLIENTS: usize = 12;

/// The value that is published last.
const LAST: u64 = u64::MAX;

struct Node {
    proxy: Proxy,
    _redis: Redis,
    numbers: Topic<u64>,
}

/// The events that a client has received, in order.
type History = Vec<(EventId, u64)>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_equals_the_log_despite_faults() {
    let seconds = std::env::var("SECONDS").map_or(5, |seconds| seconds.parse().unwrap());
    let mut server = Server::durable().await;
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        let proxy = Proxy::start(server.port()).await;
        let redis = Redis::builder().publish_timeout(Duration::from_millis(500));
        let redis = redis.open(proxy.url()).await.unwrap();
        let numbers = open_topic(&redis, "numbers").await;
        nodes.push(Arc::new(Node {
            proxy,
            _redis: redis,
            numbers,
        }));
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let mut publishers = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        publishers.spawn(publish(nodes.clone(), publisher, Arc::clone(&is_over)));
    }
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(read(nodes.clone()));
    }
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        sleep(Duration::from_millis(fastrand::u64(50..400))).await;
        inject_fault(&mut server, &nodes[fastrand::usize(..NODES)].proxy).await;
    }
    for node in &nodes {
        node.proxy.heal();
    }
    is_over.store(true, Ordering::Relaxed);
    let acknowledged = publishers.join_all().await.concat();
    publish_stubbornly(&nodes[0].numbers, LAST.into(), LAST).await;
    let histories = clients.join_all().await;
    let (_redis, numbers) = open_numbers(&server.url()).await;
    check(&read_all(&numbers).await, &acknowledged, &histories);
}

async fn inject_fault(server: &mut Server, proxy: &Proxy) {
    match fastrand::u8(..6) {
        0 => proxy.cut(),
        1 => proxy.stall_subscribers(),
        2 => {
            proxy.black_hole();
            sleep(Duration::from_millis(fastrand::u64(100..1_000))).await;
            proxy.heal();
        }
        3 => {
            let killed = server.try_run::<u64>(&["CLIENT", "KILL", "TYPE", "pubsub"]);
            killed.await.unwrap();
        }
        4 => {
            proxy.drop_messages(true);
            sleep(Duration::from_millis(fastrand::u64(10..200))).await;
            proxy.drop_messages(false);
        }
        _ => {
            server.kill().await;
            server.restart().await;
        }
    }
}

/// Publishes each event through a random node. Returns the events that were acknowledged.
async fn publish(nodes: Vec<Arc<Node>>, publisher: u64, is_over: Arc<AtomicBool>) -> History {
    let mut acknowledged = Vec::new();
    for sequence in 0.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let value = sequence * PUBLISHERS + publisher;
        // Once an attempt may have stored the event, all further attempts use the same key.
        let mut unknown = None;
        let id = loop {
            let topic = &nodes[fastrand::usize(..NODES)].numbers;
            let published = match unknown {
                Some(key) => topic.publish_with_key(key, &value).await,
                None => topic.publish(&value).await,
            };
            match published {
                Ok(id) => break id,
                Err(PublishError::Unknown { key, .. }) => unknown = Some(key),
                Err(PublishError::Unavailable { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            sleep(Duration::from_millis(10)).await;
        };
        acknowledged.push((id, value));
        sleep(Duration::from_millis(fastrand::u64(..5))).await;
    }
    acknowledged
}

/// Reads all events up to the last one. After a random number of events, resumes at a random node.
async fn read(nodes: Vec<Arc<Node>>) -> History {
    let mut history: History = Vec::new();
    loop {
        let topic = &nodes[fastrand::usize(..NODES)].numbers;
        let mut reader = match history.last() {
            Some((id, _)) => topic.subscribe(id.clone()),
            None => topic.subscribe(Start::First),
        };
        for _ in 0..fastrand::usize(1..50) {
            history.push(recv(&mut reader).await.unwrap().unwrap());
            if history.last().is_some_and(|(_, value)| *value == LAST) {
                return history;
            }
        }
    }
}

fn check(log: &History, acknowledged: &History, histories: &[History]) {
    let values: HashSet<_> = log.iter().map(|(_, value)| value).collect();
    assert_eq!(values.len(), log.len(), "an event is stored twice");
    let stored: HashSet<_> = log.iter().collect();
    for event in acknowledged {
        assert!(stored.contains(event), "{event:?} was lost");
    }
    for publisher in 0..PUBLISHERS {
        let of_one = log.iter().map(|(_, value)| *value);
        let of_one = of_one.filter(|value| *value != LAST && value % PUBLISHERS == publisher);
        assert!(of_one.is_sorted(), "a publisher's events are out of order");
    }
    for history in histories {
        let start = log.iter().position(|event| *event == history[0]);
        assert_eq!(history[..], log[start.unwrap()..]);
    }
}
