//! [`Node`]: a process's connection to an engine, shared by all topics that are open in the
//! process.

use std::{
    any::Any,
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::mpsc,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    BoxFuture, Engine, Epoch, Feed, Members, Place, RunLeases, Stored, Tail, Unreachable,
    lost_runs::end_lost_runs,
};
use crate::topic::metrics::EngineInstruments;

/// The interval at which the newest position of each open topic is compared with the engine's. If
/// the feed has silently lost a topic's last record, the node notices at the second comparison.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The maximum number of topics that a single request compares.
const TOPICS_PER_CHECK: usize = 1_000;

/// The time limit for a comparison request.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to an engine that stores topics. The node follows the engine's feed for all topics
/// that are open in this process. All clones refer to the same node.
///
/// A node is created by the crate that provides the engine. For example, an `sse_log::Log` contains
/// a node and can be passed to [`Topic::open`](crate::Topic::open).
#[derive(Clone)]
pub struct Node(Arc<Inner>);

pub(super) struct Inner {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) instruments: EngineInstruments,
    /// The open topics. A topic is removed when its follower is dropped.
    topics: Mutex<HashMap<Arc<str>, Weak<dyn Follow>>>,
    commands: mpsc::UnboundedSender<Command>,
}

/// A request to the node's task.
enum Command {
    Repair(BoxFuture<'static, ()>),
    CheckAll,
}

/// The interface of a [`Follower`] without its type parameter.
pub(super) trait Follow: Send + Sync {
    /// Receives a record from the feed.
    fn receive(&self, epoch: Epoch, previous: Place, stored: Stored);

    /// Starts a repair of the ring, because the feed may have skipped a record.
    fn suspect(&self);

    /// Compares the ring's newest position with the engine's. Starts a repair if they differ and
    /// the feed is not expected to deliver the missing records.
    fn check(&self, before: Option<Tail>, tail: Tail, is_feed_intact: bool);

    /// Returns the newest position in the ring, or `None` while the topic is being opened.
    fn tail(&self) -> Option<Tail>;

    /// Returns the name of the type of the topic's values.
    fn value_type(&self) -> &'static str;

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl Node {
    /// Creates a node, which starts to follow the engine's feed.
    ///
    /// # Panics
    ///
    /// Panics if called outside of a tokio runtime.
    #[doc(hidden)]
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        let (commands, received) = mpsc::unbounded_channel();
        let inner = Arc::new(Inner {
            instruments: EngineInstruments::new(engine.name()),
            engine,
            topics: Mutex::default(),
            commands,
        });
        inner.engine.start(Feed(Arc::downgrade(&inner)));
        Handle::current().spawn(drive(Arc::downgrade(&inner), received));
        Self(inner)
    }

    /// Returns whether the engine stores a topic with this name, without opening the topic.
    pub(crate) async fn contains(&self, topic: &str) -> Result<bool, Unreachable> {
        let topics = [topic];
        let tails = timeout(CHECK_TIMEOUT, self.0.engine.tails(&topics)).await;
        let tails = tails.unwrap_or_else(|elapsed| Err(Unreachable(elapsed.into())))?;
        Ok(tails.iter().any(Option::is_some))
    }

    /// Returns the leases of the engine, if several processes can use it at the same time.
    pub(crate) fn run_leases(&self) -> Option<&dyn RunLeases> {
        self.0.engine.run_leases()
    }

    /// Returns the engine's store for the members of presences, if it has one.
    #[doc(hidden)]
    pub fn members(&self) -> Option<&dyn Members> {
        self.0.engine.members()
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }
}

impl AsRef<Self> for Node {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.0.engine).finish()
    }
}

impl Inner {
    fn topics(&self) -> MutexGuard<'_, HashMap<Arc<str>, Weak<dyn Follow>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn follower(&self, topic: &str) -> Option<Arc<dyn Follow>> {
        self.topics().get(topic)?.upgrade()
    }

    /// Returns the follower of a topic. If the topic is not open, calls `make` to open it.
    pub(super) fn follower_or(
        &self,
        topic: &Arc<str>,
        make: impl FnOnce() -> Arc<dyn Follow>,
    ) -> Arc<dyn Follow> {
        let mut topics = self.topics();
        if let Some(open) = topics.get(topic).and_then(Weak::upgrade) {
            return open;
        }
        let follower = make();
        topics.insert(Arc::clone(topic), Arc::downgrade(&follower));
        follower
    }

    /// Removes a topic whose follower has been dropped, unless the topic has been opened again.
    pub(super) fn remove(&self, topic: &str) {
        let mut topics = self.topics();
        if topics
            .get(topic)
            .is_some_and(|open| open.strong_count() == 0)
        {
            topics.remove(topic);
            // Hold the lock during the call, so that the topic cannot be opened and watched in the
            // meantime.
            self.engine.unwatch(topic);
        }
    }

    pub(super) fn repair(&self, repair: BoxFuture<'static, ()>) {
        // The task ends only when the runtime shuts down. Repairs are then no longer needed.
        let _ = self.commands.send(Command::Repair(repair));
    }

    pub(super) fn check_all(&self) {
        let _ = self.commands.send(Command::CheckAll);
    }
}

/// Runs repairs and checks until the node is dropped.
async fn drive(node: Weak<Inner>, mut commands: mpsc::UnboundedReceiver<Command>) {
    let mut running = JoinSet::new();
    let mut ending = JoinSet::new();
    ending.spawn(end_lost_runs(Weak::clone(&node)));
    let mut checks = interval(CHECK_INTERVAL);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                None => return,
                Some(Command::Repair(repair)) => drop(running.spawn(repair)),
                Some(Command::CheckAll) => drop(running.spawn(check(Weak::clone(&node), false))),
            },
            Some(ended) = running.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a repair or a check of an engine's topics panicked");
                }
            }
            Some(ended) = ending.join_next() => {
                // It returns if the engine has no leases or the node has been dropped.
                if let Err(error) = ended {
                    tracing::error!(%error, "the task that ends lost runs panicked; restarting it");
                    ending.spawn(end_lost_runs(Weak::clone(&node)));
                }
            }
            _ = checks.tick() => drop(running.spawn(check(Weak::clone(&node), true))),
        }
    }
}

/// Compares the newest position of each open topic with the engine's.
async fn check(node: Weak<Inner>, is_feed_intact: bool) {
    let Some(inner) = node.upgrade() else { return };
    // A dropped topic must release its events at once, because they count towards the hub's limit.
    // Therefore, only weak references are held while waiting for the engine's response. The lock is
    // released before a follower is upgraded, because dropping the last reference to a follower
    // acquires the lock again.
    let mut open: Vec<_> = inner
        .topics()
        .iter()
        .map(|(name, follower)| (Arc::clone(name), Weak::clone(follower)))
        .collect();
    open.retain(|(_, follower)| {
        let Some(follower) = follower.upgrade() else {
            return false;
        };
        let is_open = follower.tail().is_some();
        // The first read may have taken its snapshot before the connection was restored.
        if !is_open && !is_feed_intact {
            follower.suspect();
        }
        is_open
    });
    let mut lag = 0;
    for chunk in open.chunks(TOPICS_PER_CHECK) {
        let names: Vec<&str> = chunk.iter().map(|(name, _)| &**name).collect();
        let before: Vec<_> = chunk
            .iter()
            .map(|(_, follower)| follower.upgrade()?.tail())
            .collect();
        let tails = timeout(CHECK_TIMEOUT, inner.engine.tails(&names)).await;
        let followers = chunk.iter().map(|(_, follower)| follower.upgrade());
        match tails {
            Ok(Ok(tails)) => {
                for ((follower, before), tail) in followers.zip(before).zip(tails) {
                    let Some(follower) = follower else { continue };
                    match tail {
                        Some(tail) => {
                            lag = lag.max(missing(follower.tail(), tail));
                            follower.check(before, tail, is_feed_intact);
                        }
                        // The engine has lost the topic.
                        None => follower.suspect(),
                    }
                }
            }
            // Repairs are retried until they succeed, whereas a failed check would be repeated only
            // at the next interval.
            Ok(Err(_)) | Err(_) if !is_feed_intact => {
                for follower in followers.flatten() {
                    follower.suspect();
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, "failed to check the topics of an engine"),
            Err(_) => tracing::debug!("an engine did not respond to a check in time"),
        }
    }
    inner.instruments.feed_lag(lag);
}

/// Returns the number of records in the log that the ring does not contain.
fn missing(ring: Option<Tail>, log: Tail) -> u64 {
    match ring {
        Some(ring) if ring.epoch == log.epoch => {
            log.newest.number.saturating_sub(ring.newest.number)
        }
        _ => log.newest.number,
    }
}
