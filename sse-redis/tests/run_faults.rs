//! Tests runs during faults of Redis, and runs that move between nodes.

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
    Hub, Start, Topic,
    topic::{HubBuilder, HubError, Subscription},
};
use support::{
    PATIENCE, open_topic, proxy::Proxy, publish_stubbornly, recv, server::Server, take, until,
};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, sleep, timeout},
};

/// The time after which a lost run is ended or continued.
const TTL: Duration = Duration::from_secs(1);

/// One of several servers that execute runs.
struct Node {
    runs: Hub<u64>,
    redis: Redis,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    started: AtomicUsize,
    running: AtomicUsize,
    /// Each permit allows a run to publish an event.
    events: Events,
}

struct Events(Semaphore);

impl Default for Events {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

/// Counts a run that is in progress.
struct Running(Arc<Counts>);

impl Running {
    fn new(counts: &Arc<Counts>) -> Self {
        counts.started.fetch_add(1, Ordering::Relaxed);
        counts.running.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counts))
    }

    /// Publishes a number for each permit, and ends after number 9.
    async fn publish(self, topic: Topic<u64>, first: u64) {
        for number in first..10 {
            self.0.events.0.acquire().await.unwrap().forget();
            let _ = topic.publish(&number).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Node {
    async fn new(url: &str) -> Self {
        Self::with(url, TTL, |hub| hub).await
    }

    async fn with(
        url: &str,
        ttl: Duration,
        configure: impl FnOnce(HubBuilder<u64>) -> HubBuilder<u64>,
    ) -> Self {
        let redis = Redis::builder().run_ttl(ttl).open(url).await.unwrap();
        let hub = Hub::builder(|| Topic::builder().keep(10_000)).engine(&redis, "runs");
        Self {
            runs: configure(hub).build(),
            redis,
            counts: Arc::default(),
        }
    }

    async fn try_spawn(&self, name: &str) -> Result<Subscription<u64>, HubError> {
        let counts = Arc::clone(&self.counts);
        let run = self.runs.spawn(name, Start::First, move |topic| {
            Running::new(&counts).publish(topic, 0)
        });
        run.await
    }

    async fn spawn(&self, name: &str) -> Subscription<u64> {
        self.try_spawn(name).await.unwrap()
    }

    async fn spawn_or_resume(&self, name: &str) -> Subscription<u64> {
        let counts = Arc::clone(&self.counts);
        let run = self
            .runs
            .spawn_or_resume(name, Start::First, move |topic, so_far| {
                Running::new(&counts).publish(topic, so_far.len() as u64)
            });
        run.await.unwrap()
    }

    fn started(&self) -> usize {
        self.counts.started.load(Ordering::Relaxed)
    }

    fn running(&self) -> usize {
        self.counts.running.load(Ordering::Relaxed)
    }

    fn allow(&self, events: usize) {
        self.counts.events.0.add_permits(events);
    }
}

async fn ends(reader: &mut Subscription<u64>) {
    assert!(recv(reader).await.is_none(), "the run should have ended");
}

#[tokio::test]
async fn abort_stops_a_run_that_is_about_to_start() {
    let server = Server::in_memory().await;
    let proxy = Proxy::start(server.port()).await;
    let one = Node::new(&proxy.url()).await;
    let _topic = one.runs.topic("a").await.unwrap();
    proxy.stall();
    let (run, is_aborted, ()) = tokio::join!(one.try_spawn("a"), one.runs.abort("a"), async {
        sleep(Duration::from_millis(100)).await;
        proxy.heal();
    });
    assert!(is_aborted.unwrap());
    ends(&mut run.unwrap()).await;
    until("the run is dropped", async || one.running() == 0).await;
}

#[tokio::test]
async fn other_hub_of_the_process_aborts_a_run() {
    let server = Server::in_memory().await;
    let one = Node::new(&server.url()).await;
    let hub = Hub::<u64>::builder(|| Topic::builder().keep(10_000));
    let hub = hub.engine(&one.redis, "runs").build();
    let mut reader = one.spawn("a").await;
    assert!(hub.abort("a").await.unwrap());
    ends(&mut reader).await;
    until("the run is dropped", async || one.running() == 0).await;
}

#[tokio::test]
async fn former_owner_aborts_a_run() {
    let server = Server::in_memory().await;
    let proxy = Proxy::start(server.port()).await;
    let one = Node::new(&proxy.url()).await;
    let other = Node::new(&server.url()).await;
    let mut reader = one.spawn_or_resume("a").await;
    let mut there = other.spawn_or_resume("a").await;
    one.allow(1);
    assert_eq!(take(&mut there, 1).await, [0]);
    proxy.black_hole();
    until("the other node continues the run", async || {
        other.started() == 1
    })
    .await;
    proxy.heal();
    until("the run is dropped", async || one.running() == 0).await;
    assert!(one.runs.abort("a").await.unwrap());
    assert_eq!(take(&mut reader, 1).await, [0]);
    ends(&mut reader).await;
    until("the run is dropped", async || other.running() == 0).await;
}

#[tokio::test]
async fn former_owner_continues_a_run_again() {
    let server = Server::in_memory().await;
    let (here, there) = (
        Proxy::start(server.port()).await,
        Proxy::start(server.port()).await,
    );
    let one = Node::new(&here.url()).await;
    let other = Node::new(&there.url()).await;
    let _reader = one.spawn_or_resume("a").await;
    let _there = other.spawn_or_resume("a").await;
    here.black_hole();
    until("the other node continues the run", async || {
        other.started() == 1
    })
    .await;
    here.heal();
    until("the run is dropped", async || one.running() == 0).await;
    let mut reader = one.spawn_or_resume("a").await;
    there.black_hole();
    until("the first node continues the run", async || {
        one.started() == 2
    })
    .await;
    one.allow(10);
    assert!(take(&mut reader, 10).await.into_iter().eq(0..10));
}

#[tokio::test]
async fn run_is_started_after_redis_has_lost_an_ended_one() {
    let server = Server::in_memory().await;
    let one = Node::new(&server.url()).await;
    one.allow(10);
    let mut reader = one.spawn("a").await;
    assert!(take(&mut reader, 10).await.into_iter().eq(0..10));
    ends(&mut reader).await;
    let topic = one.runs.topic("a").await.unwrap();
    let _: () = server.run(&["FLUSHALL"]).await;
    until("the node notices the loss", async || !topic.is_finished()).await;
    one.allow(10);
    let mut again = one.spawn("a").await;
    assert!(take(&mut again, 10).await.into_iter().eq(0..10));
    ends(&mut again).await;
    assert_eq!(one.started(), 2);
}

/// The lease is renewed on another connection before it expires.
#[tokio::test]
async fn run_survives_the_loss_of_a_connection() {
    let server = Server::in_memory().await;
    let proxy = Proxy::start(server.port()).await;
    let one = Node::with(&proxy.url(), TTL * 10, |hub| hub).await;
    let other = Node::new(&server.url()).await;
    drop(one.spawn("a").await);
    let mut there = other.spawn("a").await;
    proxy.stall();
    // Without the renewal, the lease would expire within this time.
    let is_over = timeout(TTL * 12, there.recv()).await.is_ok();
    assert!(!is_over, "the run has ended");
    one.allow(1);
    assert_eq!(take(&mut there, 1).await, [0]);
}

/// While Redis rejects all writes, no lease can be renewed.
#[tokio::test]
async fn runs_survive_while_redis_rejects_writes() {
    let server = Server::in_memory().await;
    let one = Node::new(&server.url()).await;
    let _others = [
        Node::new(&server.url()).await,
        Node::new(&server.url()).await,
    ];
    let mut readers = Vec::new();
    for run in 0..20 {
        readers.push(one.spawn(&run.to_string()).await);
    }
    let _: () = server
        .run(&["CONFIG", "SET", "min-replicas-to-write", "1"])
        .await;
    sleep(TTL * 3).await;
    let _: () = server
        .run(&["CONFIG", "SET", "min-replicas-to-write", "0"])
        .await;
    sleep(TTL * 2).await;
    assert_eq!(one.running(), 20);
    one.allow(200);
    for reader in &mut readers {
        assert!(take(reader, 10).await.into_iter().eq(0..10));
        ends(reader).await;
        assert!(!reader.has_failed());
    }
}

/// Entries that do not belong to any run must not hide lost runs. Ending many lost runs must not
/// take longer than ending one.
#[tokio::test]
async fn many_lost_runs_are_ended_in_time() {
    let server = Server::in_memory().await;
    let proxy = Proxy::start(server.port()).await;
    let one = Node::new(&proxy.url()).await;
    let other = Node::new(&server.url()).await;
    let topic = other.runs.topic("999").await.unwrap();
    let mut there = topic.subscribe(Start::First);
    let runs = (0..1_000).map(|run| one.spawn(run.to_string().leak()));
    drop(futures_util::future::join_all(runs).await);
    let add_junk =
        "for junk = 1, 150 do redis.call('ZADD', 'sse:leases', junk, '\\255' .. junk) end";
    let _: () = server.run(&["EVAL", add_junk, "0"]).await;
    proxy.black_hole();
    let lost = Instant::now();
    ends(&mut there).await;
    assert!(there.has_failed());
    assert!(lost.elapsed() < TTL + Duration::from_secs(5));
    until("all leases are removed", async || {
        let leases: u64 = server.run(&["ZCARD", "sse:leases"]).await;
        leases == 150
    })
    .await;
}

#[tokio::test]
async fn requests_do_not_queue_while_redis_is_away() {
    let server = Server::in_memory().await;
    let proxy = Proxy::start(server.port()).await;
    let one = Node::new(&proxy.url()).await;
    let _topic = one.runs.topic("a").await.unwrap();
    proxy.black_hole();
    let start = Instant::now();
    let requests = futures_util::future::join_all((0..10).map(|_| one.try_spawn("a"))).await;
    for request in requests {
        assert_eq!(request.unwrap_err(), HubError::Unavailable);
    }
    assert!(start.elapsed() < PATIENCE);
}

#[tokio::test]
async fn outage_does_not_count_as_abandoned() {
    let mut server = Server::durable().await;
    let after = TTL * 3;
    let one = Node::with(&server.url(), TTL, |hub| hub.abandon_after(after)).await;
    let other = Node::with(&server.url(), TTL, |hub| hub.abandon_after(after)).await;
    drop(one.spawn("a").await);
    let mut there = other.spawn("a").await;
    sleep(TTL).await;
    server.kill().await;
    sleep(after + TTL).await;
    server.restart().await;
    let probe = open_topic(&one.redis, "probe").await;
    publish_stubbornly(&probe, 1, 1).await;
    sleep(after + TTL).await;
    assert_eq!(one.running(), 1);
    one.allow(1);
    assert_eq!(take(&mut there, 1).await, [0]);
    drop(there);
    until("the run is abandoned", async || one.running() == 0).await;
}

/// If a process that continues a run cannot read the run's events, it must try again.
#[tokio::test]
async fn run_is_continued_once_its_events_are_read() {
    let server = Server::in_memory().await;
    let proxy = Proxy::start(server.port()).await;
    let one = Node::new(&proxy.url()).await;
    let other = Node::new(&server.url()).await;
    drop(one.spawn_or_resume("a").await);
    let mut there = other.spawn_or_resume("a").await;
    one.allow(1);
    assert_eq!(take(&mut there, 1).await, [0]);
    let _: () = server.run(&["ACL", "SETUSER", "default", "-xrange"]).await;
    proxy.black_hole();
    until("the server has rejected a read", async || {
        let rejected: redis::Value = server.run(&["ACL", "LOG"]).await;
        format!("{rejected:?}").contains("xrange")
    })
    .await;
    assert_eq!(other.started(), 0);
    let _: () = server.run(&["ACL", "SETUSER", "default", "+xrange"]).await;
    other.allow(9);
    assert!(take(&mut there, 9).await.into_iter().eq(1..10));
    ends(&mut there).await;
    assert!(!there.has_failed());
}

/// If Redis has lost a run, its owner creates the lease again.
#[tokio::test]
async fn lost_lease_does_not_start_a_run_twice() {
    let server = Server::in_memory().await;
    let one = Node::new(&server.url()).await;
    let other = Node::new(&server.url()).await;
    drop(one.spawn_or_resume("a").await);
    let _there = other.spawn_or_resume("a").await;
    for _ in 0..3 {
        let _: () = server.run(&["FLUSHALL"]).await;
        until("the lease is created again", async || {
            server.run(&["EXISTS", "sse:run:runs/a"]).await
        })
        .await;
        sleep(TTL).await;
        assert_eq!((one.running(), other.started()), (1, 0));
    }
    one.allow(10);
    until("the run ends", async || one.running() == 0).await;
    assert_eq!((one.started(), other.started()), (1, 0));
}

/// The processes send requests while Redis is suspended, and Redis executes them afterwards.
#[tokio::test]
async fn runs_survive_while_redis_is_suspended() {
    let server = Server::in_memory().await;
    let one = Node::new(&server.url()).await;
    let other = Node::new(&server.url()).await;
    let mut readers = Vec::new();
    for run in 0..10 {
        readers.push(one.spawn_or_resume(&run.to_string()).await);
        readers.push(other.spawn_or_resume(&run.to_string()).await);
    }
    // Leases are taken over only once the connection has been open for this time.
    sleep(TTL).await;
    server.signal("STOP").await;
    sleep(TTL * 3 / 2).await;
    server.signal("CONT").await;
    sleep(TTL * 2).await;
    assert_eq!((one.running(), other.started()), (10, 0));
    one.allow(100);
    for reader in &mut readers {
        assert!(take(reader, 10).await.into_iter().eq(0..10));
        ends(reader).await;
    }
}

/// The former owner learns only after the run has ended that another process had taken over the
/// run.
#[tokio::test]
async fn former_owner_stops_after_the_run_has_ended() {
    let server = Server::in_memory().await;
    let proxy = Proxy::start(server.port()).await;
    let one = Node::new(&proxy.url()).await;
    let other = Node::new(&server.url()).await;
    other.allow(10);
    let mut reader = one.spawn_or_resume("a").await;
    let mut there = other.spawn_or_resume("a").await;
    proxy.black_hole();
    assert!(take(&mut there, 10).await.into_iter().eq(0..10));
    ends(&mut there).await;
    proxy.heal();
    assert!(take(&mut reader, 10).await.into_iter().eq(0..10));
    ends(&mut reader).await;
    until("the run is dropped", async || one.running() == 0).await;
}

#[tokio::test]
async fn error_names_the_key_of_the_run() {
    let server = Server::in_memory().await;
    let one = Node::new(&server.url()).await;
    let (sent, mut errors) = mpsc::unbounded_channel();
    let gate = Arc::clone(&one.counts);
    let run = one.runs.spawn("a", Start::First, move |topic| async move {
        gate.events.0.acquire().await.unwrap().forget();
        sent.send(topic.publish(&0).await.unwrap_err()).unwrap();
    });
    let _reader = run.await.unwrap();
    let _: () = server.run(&["SET", "sse:run:runs/a", "junk"]).await;
    one.allow(1);
    let error = timeout(PATIENCE, errors.recv()).await.unwrap().unwrap();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("sse:run:runs/a"), "{cause}");
}
