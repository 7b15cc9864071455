//! Tests runs that several nodes share.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sse_redis::Redis;
use sse_runtime::{
    EventId, Hub, Start, Topic,
    topic::{GapReason, HubError, PublishError, Subscription},
};
use support::{
    PATIENCE, open_topic, proxy::Proxy, publish_stubbornly, recv, server::Server, take, until,
};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, sleep, timeout},
};

/// The time after which a lost run is ended or continued. It must be longer than a node takes to
/// reconnect to Redis.
const TTL: Duration = Duration::from_secs(3);

/// One of several servers that execute runs.
struct Node {
    runs: Hub<u64>,
    /// The number of runs that this server has started.
    started: Arc<AtomicUsize>,
    /// The number of these runs that are in progress.
    running: Arc<AtomicUsize>,
    /// Each permit allows a run to publish an event.
    events: Arc<Semaphore>,
    /// The errors of the runs.
    errors: mpsc::UnboundedReceiver<PublishError>,
    error: mpsc::UnboundedSender<PublishError>,
    redis: Redis,
}

/// Counts a run that is in progress.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Node {
    async fn new(url: &str) -> Self {
        Self::with(url, |hub| hub).await
    }

    async fn with(
        url: &str,
        configure: impl FnOnce(
            sse_runtime::topic::HubBuilder<u64>,
        ) -> sse_runtime::topic::HubBuilder<u64>,
    ) -> Self {
        let builder = Redis::builder().run_ttl(TTL);
        let builder = builder.publish_timeout(Duration::from_millis(500));
        let redis = builder.open(url).await.unwrap();
        let hub = Hub::builder(|| Topic::builder().keep(10_000)).engine(&redis, "runs");
        let (error, errors) = mpsc::unbounded_channel();
        Self {
            runs: configure(hub).build(),
            started: Arc::default(),
            running: Arc::default(),
            events: Arc::new(Semaphore::new(0)),
            errors,
            error,
            redis,
        }
    }

    /// Returns a producer that publishes a number for each permit. The run ends
    /// after the number 99.
    fn producer(&self) -> impl FnOnce(Topic<u64>, u64) -> RunFuture + Send + 'static {
        let (started, running) = (Arc::clone(&self.started), Arc::clone(&self.running));
        let (events, errors) = (Arc::clone(&self.events), self.error.clone());
        move |topic, first| {
            started.fetch_add(1, Ordering::Relaxed);
            let running = Running::new(&running);
            Box::pin(async move {
                let _running = running;
                for number in first..100 {
                    events.acquire().await.unwrap().forget();
                    if let Err(error) = topic.publish(&number).await {
                        let _ = errors.send(error);
                    }
                }
            })
        }
    }

    async fn spawn(&self, name: &str) -> Subscription<u64> {
        let producer = self.producer();
        let run = self
            .runs
            .spawn(name, Start::First, |topic| producer(topic, 0));
        run.await.unwrap()
    }

    async fn spawn_or_resume(&self, name: &str) -> Subscription<u64> {
        let producer = self.producer();
        let run = self
            .runs
            .spawn_or_resume(name, Start::First, |topic, so_far| {
                let values: Vec<u64> = so_far.iter().map(|update| **update).collect();
                assert!(values.iter().copied().eq(0..values.len() as u64));
                producer(topic, values.len() as u64)
            });
        run.await.unwrap()
    }

    fn started(&self) -> usize {
        self.started.load(Ordering::Relaxed)
    }

    fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }
}

type RunFuture = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Checks that a run ends without further events.
async fn ends(reader: &mut Subscription<u64>) {
    assert!(recv(reader).await.is_none(), "the run should have ended");
}

#[tokio::test]
async fn run_is_started_once_across_nodes() {
    let server = Server::in_memory().await;
    let nodes = [
        Node::new(&server.url()).await,
        Node::new(&server.url()).await,
        Node::new(&server.url()).await,
    ];
    let spawning = (0..30).map(|client| nodes[client % 3].spawn("a"));
    let mut readers = futures_util::future::join_all(spawning).await;
    for node in &nodes {
        node.events.add_permits(100);
    }
    for reader in &mut readers {
        assert!(take(reader, 100).await.into_iter().eq(0..100));
        ends(reader).await;
        assert!(!reader.has_failed());
    }
    assert_eq!(nodes.iter().map(Node::started).sum::<usize>(), 1);
    // The run has ended. It is replayed and not started again.
    for node in &nodes {
        let mut reader = node.spawn("a").await;
        assert!(take(&mut reader, 100).await.into_iter().eq(0..100));
        ends(&mut reader).await;
    }
    assert_eq!(nodes.iter().map(Node::started).sum::<usize>(), 1);
    // Nothing remains in Redis except for the events.
    let keys: Vec<String> = server.run(&["KEYS", "sse:*"]).await;
    assert!(!keys.iter().any(|key| key.contains("run:")), "{keys:?}");
    assert!(!keys.iter().any(|key| key.contains("leases")), "{keys:?}");
}

#[tokio::test]
async fn client_resumes_a_run_at_another_node() {
    let server = Server::in_memory().await;
    let (one, other) = (
        Node::new(&server.url()).await,
        Node::new(&server.url()).await,
    );
    let mut reader = one.spawn("a").await;
    let start = reader.position();
    // The run has not published anything yet.
    let mut early = other
        .runs
        .resume("a", start.clone())
        .await
        .unwrap()
        .unwrap();
    one.events.add_permits(3);
    assert_eq!(take(&mut reader, 2).await, [0, 1]);
    assert_eq!(take(&mut early, 3).await, [0, 1, 2]);
    let producer = other.producer();
    let resumed = other
        .runs
        .spawn("a", reader.position(), |topic| producer(topic, 0));
    assert_eq!(take(&mut resumed.await.unwrap(), 1).await, [2]);
    assert_eq!((one.started(), other.started()), (1, 0));
    // A client with the id of a run that does not exist never starts one.
    let producer = other.producer();
    let gone = other
        .runs
        .spawn_or_resume("gone", start, |topic, _| producer(topic, 0));
    let mut gone = gone.await.unwrap();
    let gap = recv(&mut gone).await.unwrap().unwrap_err();
    assert_eq!(gap.reason(), GapReason::OtherEpoch);
    ends(&mut gone).await;
    assert_eq!(other.started(), 0);
    assert!(
        other
            .runs
            .resume("gone", Start::First)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn any_node_aborts_a_run() {
    let server = Server::in_memory().await;
    let (one, other) = (
        Node::new(&server.url()).await,
        Node::new(&server.url()).await,
    );
    assert!(!other.runs.abort("a").await.unwrap());
    let mut reader = one.spawn("a").await;
    one.events.add_permits(2);
    assert_eq!(take(&mut reader, 2).await, [0, 1]);
    assert!(other.runs.abort("a").await.unwrap());
    ends(&mut reader).await;
    assert!(!reader.has_failed());
    until("the run is dropped", async || one.running() == 0).await;
    assert!(!other.runs.abort("a").await.unwrap());
    assert!(!one.runs.abort("a").await.unwrap());
    let mut replayed = other.spawn("a").await;
    assert_eq!(take(&mut replayed, 2).await, [0, 1]);
    ends(&mut replayed).await;
    assert_eq!(other.started(), 0);
    // A topic without a run is not ended.
    other.runs.topic("plain").await.unwrap();
    assert!(!one.runs.abort("plain").await.unwrap());
    assert!(!other.runs.topic("plain").await.unwrap().is_finished());
}

#[tokio::test]
async fn run_of_a_lost_node_is_ended() {
    let server = Server::in_memory().await;
    let proxy = Proxy::start(server.port()).await;
    let mut one = Node::new(&proxy.url()).await;
    let other = Node::new(&server.url()).await;
    let mut reader = one.spawn("a").await;
    let mut there = other.spawn("a").await;
    one.events.add_permits(2);
    assert_eq!(take(&mut reader, 2).await, [0, 1]);
    assert_eq!(take(&mut there, 2).await, [0, 1]);
    // This run has not published anything, and the other node has no readers for it.
    let mut unread = one.spawn("unread").await;
    proxy.black_hole();
    let lost = Instant::now();
    ends(&mut there).await;
    assert!(there.has_failed());
    assert!(lost.elapsed() < TTL + Duration::from_secs(5));
    // The first node still tries to publish. Its record arrives after the run has been ended.
    one.events.add_permits(1);
    let error = timeout(PATIENCE, one.errors.recv()).await.unwrap().unwrap();
    assert!(matches!(error, PublishError::Unknown { .. }), "{error}");
    proxy.heal();
    ends(&mut reader).await;
    assert!(reader.has_failed());
    ends(&mut unread).await;
    until("the runs are dropped", async || one.running() == 0).await;
    let mut replayed = other.spawn("a").await;
    assert_eq!(take(&mut replayed, 2).await, [0, 1]);
    ends(&mut replayed).await;
    assert_eq!(other.started(), 0);
}

#[tokio::test]
async fn another_node_continues_a_run() {
    let server = Server::in_memory().await;
    let proxy = Proxy::start(server.port()).await;
    let mut one = Node::new(&proxy.url()).await;
    let other = Node::new(&server.url()).await;
    let mut reader = one.spawn_or_resume("a").await;
    let mut there = other.spawn_or_resume("a").await;
    one.events.add_permits(3);
    assert_eq!(take(&mut reader, 3).await, [0, 1, 2]);
    assert_eq!(take(&mut there, 3).await, [0, 1, 2]);
    assert_eq!((one.started(), other.started()), (1, 0));
    proxy.black_hole();
    // The first node sends a record, which reaches Redis only after another node has continued the
    // run.
    one.events.add_permits(1);
    let error = timeout(PATIENCE, one.errors.recv()).await.unwrap().unwrap();
    assert!(matches!(error, PublishError::Unknown { .. }), "{error}");
    other.events.add_permits(2);
    assert_eq!(take(&mut there, 2).await, [3, 4]);
    assert_eq!(other.started(), 1);
    proxy.heal();
    // A reader of the first node receives the events of the other node, and each only once.
    other.events.add_permits(95);
    assert!(take(&mut reader, 97).await.into_iter().eq(3..100));
    assert!(take(&mut there, 95).await.into_iter().eq(5..100));
    ends(&mut reader).await;
    ends(&mut there).await;
    assert!(!reader.has_failed() && !there.has_failed());
    until("the runs are dropped", async || {
        one.running() + other.running() == 0
    })
    .await;
    assert_eq!((one.started(), other.started()), (1, 1));
}

/// A node that was suspended does not notice that its lease has expired until it publishes.
#[tokio::test]
async fn suspended_owner_is_fenced() {
    let server = Server::in_memory().await;
    let mut one = Node::new(&server.url()).await;
    let other = Node::new(&server.url()).await;
    let mut reader = one.spawn_or_resume("a").await;
    one.events.add_permits(1);
    assert_eq!(take(&mut reader, 1).await, [0]);
    // Take the run over as if the first node had been suspended.
    let _: () = server
        .run(&["HSET", "sse:run:runs/a", "owner", "another owner"])
        .await;
    one.events.add_permits(1);
    let error = timeout(PATIENCE, one.errors.recv()).await.unwrap().unwrap();
    assert!(matches!(error, PublishError::Fenced), "{error}");
    // The first node stops the run when it renews its lease.
    until("the run is dropped", async || one.running() == 0).await;
    // The other owner does not renew its lease, so the run is continued again.
    let mut there = other.spawn_or_resume("a").await;
    other.events.add_permits(99);
    assert!(take(&mut there, 100).await.into_iter().eq(0..100));
    assert!(take(&mut reader, 99).await.into_iter().eq(1..100));
}

#[tokio::test]
async fn runs_survive_an_outage_of_redis() {
    let mut server = Server::durable().await;
    let one = Node::new(&server.url()).await;
    let other = Node::new(&server.url()).await;
    let mut reader = one.spawn("a").await;
    let mut there = other.spawn("a").await;
    one.events.add_permits(1);
    assert_eq!(take(&mut there, 1).await, [0]);
    let probe = open_topic(&one.redis, "probe").await;
    let other_probe = open_topic(&other.redis, "probe").await;
    server.kill().await;
    // All leases expire in the meantime.
    sleep(TTL * 2).await;
    server.restart().await;
    publish_stubbornly(&probe, 1, 1).await;
    publish_stubbornly(&other_probe, 2, 2).await;
    one.events.add_permits(99);
    assert!(take(&mut reader, 100).await.into_iter().eq(0..100));
    assert!(take(&mut there, 99).await.into_iter().eq(1..100));
    ends(&mut there).await;
    assert!(!there.has_failed());
}

#[tokio::test]
async fn run_is_not_started_while_redis_is_away() {
    let server = Server::in_memory().await;
    let proxy = Proxy::start(server.port()).await;
    let one = Node::new(&proxy.url()).await;
    // The topic is open, so only the claim fails.
    let topic = one.runs.topic("a").await.unwrap();
    proxy.black_hole();
    let producer = one.producer();
    let spawning = one
        .runs
        .spawn("a", Start::First, |topic| producer(topic, 0));
    assert_eq!(spawning.await.unwrap_err(), HubError::Unavailable);
    assert_eq!(one.started(), 0);
    proxy.heal();
    drop(topic);
    one.events.add_permits(100);
    let run = async {
        loop {
            let producer = one.producer();
            let run = one
                .runs
                .spawn("a", Start::First, |topic| producer(topic, 0));
            if let Ok(run) = run.await {
                return run;
            }
        }
    };
    let mut reader = timeout(PATIENCE, run).await.unwrap();
    assert!(take(&mut reader, 100).await.into_iter().eq(0..100));
    assert_eq!(one.started(), 1);
}

/// If a client disconnects while its run is being claimed, the claim must not block the run.
#[tokio::test]
async fn dropped_request_withdraws_its_claim() {
    let server = Server::in_memory().await;
    let proxy = Proxy::start(server.port()).await;
    let one = Node::new(&proxy.url()).await;
    let other = Node::new(&server.url()).await;
    let _topic = one.runs.topic("a").await.unwrap();
    proxy.stall();
    let producer = one.producer();
    let spawning = one
        .runs
        .spawn("a", Start::First, |topic| producer(topic, 0));
    assert!(timeout(Duration::from_millis(200), spawning).await.is_err());
    proxy.heal();
    until("the claim is withdrawn", async || {
        let evaluations = server.calls("evalsha").await + server.calls("eval").await;
        let keys: Vec<String> = server.run(&["KEYS", "sse:run:*"]).await;
        evaluations > 0 && keys.is_empty()
    })
    .await;
    other.events.add_permits(100);
    let mut reader = other.spawn("a").await;
    assert!(take(&mut reader, 100).await.into_iter().eq(0..100));
    assert_eq!((one.started(), other.started()), (0, 1));
}

#[tokio::test]
async fn readers_of_other_nodes_keep_a_run_alive() {
    let server = Server::in_memory().await;
    let after = Duration::from_millis(100);
    let one = Node::with(&server.url(), |hub| hub.abandon_after(after)).await;
    let other = Node::with(&server.url(), |hub| hub.abandon_after(after)).await;
    drop(one.spawn("a").await);
    let mut there = other.spawn("a").await;
    sleep(TTL * 3).await;
    assert_eq!(one.running(), 1);
    one.events.add_permits(1);
    assert_eq!(take(&mut there, 1).await, [0]);
    drop(there);
    until("the run is abandoned", async || one.running() == 0).await;
}

/// A producer may be expensive, for example a language model. It must be called only once, no
/// matter when and how a page is reloaded.
#[tokio::test]
async fn reloads_never_pay_twice() {
    let server = Server::in_memory().await;
    let proxy = Proxy::start(server.port()).await;
    let idle = Duration::from_millis(100);
    let one = Node::with(&proxy.url(), |hub| hub.idle(idle)).await;
    let other = Node::with(&server.url(), |hub| hub.idle(idle)).await;
    let started = || one.started() + other.started();
    // Requests the run as each kind of client does: without an id, with an id from before the first
    // event, and with the id of the last event.
    let reload = async |node: &Node, ids: &[EventId], published: u32| {
        let mut fresh = node.spawn("a").await;
        assert!(
            take(&mut fresh, published as usize)
                .await
                .into_iter()
                .eq(0..u64::from(published))
        );
        for id in ids {
            let producer = node.producer();
            let resumed = node.runs.spawn("a", id.clone(), |topic| producer(topic, 0));
            drop(resumed.await.unwrap());
        }
    };
    let mut reader = one.spawn("a").await;
    let start = reader.position();
    one.events.add_permits(3);
    assert_eq!(take(&mut reader, 3).await, [0, 1, 2]);
    let ids = [start, reader.position()];
    // Reload on both nodes while the run is in progress.
    reload(&one, &ids, 3).await;
    reload(&other, &ids, 3).await;
    // Reload after the other node has dropped the topic, because no client was reading it.
    until("the topic is dropped", async || other.runs.is_empty()).await;
    reload(&other, &ids, 3).await;
    // Reload after the node that was executing the run has been cut off.
    proxy.black_hole();
    let mut there = other.spawn("a").await;
    assert_eq!(take(&mut there, 3).await, [0, 1, 2]);
    ends(&mut there).await;
    assert!(there.has_failed());
    reload(&other, &ids, 3).await;
    drop(there);
    until("the topic is dropped again", async || other.runs.is_empty()).await;
    reload(&other, &ids, 3).await;
    assert_eq!(started(), 1);

    // Reload after the run has finished and the node has dropped its topic.
    proxy.heal();
    other.events.add_permits(100);
    let mut reader = other.spawn("b").await;
    assert!(take(&mut reader, 100).await.into_iter().eq(0..100));
    ends(&mut reader).await;
    drop(reader);
    until("the topics are dropped", async || other.runs.is_empty()).await;
    let mut replayed = other.spawn("b").await;
    assert!(take(&mut replayed, 100).await.into_iter().eq(0..100));
    ends(&mut replayed).await;
    assert_eq!(started(), 2);
}
