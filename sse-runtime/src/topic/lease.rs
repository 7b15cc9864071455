//! [`Lease`]: keeps a hub's topic in use. A hub counts each topic's leases to determine whether the
//! topic is unused, and since when.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tokio::{sync::Notify, time::Instant};

use super::{
    OpenError, PublishError, Start,
    backend::{Backend, Encoded, Finishing, Publishing, Read, Reader, StartAt},
    engine::{BoxFuture, RunOwner},
};
use crate::{
    event::{gap::Gap, id::EventId},
    generator::run_failure::Failure,
};

/// A claim on a hub's topic, held by a handle or a subscription. A topic is in use while it has at
/// least one lease.
#[derive(Debug)]
pub(crate) struct Lease(Arc<Usage>);

/// The back end of a topic handle returned by a hub. The topic stays in use until the handle, its
/// clones and their subscriptions are dropped. Topics that do not belong to a hub have no leases.
pub(crate) struct InUse<T> {
    backend: Arc<dyn Backend<T>>,
    lease: Lease,
    /// Whether the ids that clients receive contain the topic's name.
    has_named_ids: bool,
    /// The owner of the run to which the handle was passed, if the topic is stored by an engine
    /// that several processes share.
    owner: Option<RunOwner>,
}

/// A reader, along with a value that it keeps alive, such as the lease of a hub's topic.
pub(crate) struct Keeping<T> {
    reader: Box<dyn Reader<T>>,
    _kept: Arc<dyn Send + Sync>,
}

impl<T> Keeping<T> {
    pub(crate) fn new(reader: Box<dyn Reader<T>>, kept: Arc<dyn Send + Sync>) -> Self {
        Self {
            reader,
            _kept: kept,
        }
    }
}

impl<T> InUse<T> {
    pub(crate) fn new(
        backend: &Arc<dyn Backend<T>>,
        lease: Lease,
        has_named_ids: bool,
        owner: Option<RunOwner>,
    ) -> Self {
        Self {
            backend: Arc::clone(backend),
            lease,
            has_named_ids,
            owner,
        }
    }
}

impl<T> fmt::Debug for InUse<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.backend.fmt(f)
    }
}

impl<T: Send + Sync + 'static> Backend<T> for InUse<T> {
    fn opened(&self) -> BoxFuture<'_, Result<(), OpenError>> {
        self.backend.opened()
    }

    fn is_open(&self) -> bool {
        self.backend.is_open()
    }

    fn publish(&self, event: Encoded<T>) -> Publishing<'_> {
        let owner = event.owner.or(self.owner);
        self.backend.publish(Encoded { owner, ..event })
    }

    fn try_publish(&self, event: Encoded<T>) -> Result<Result<EventId, PublishError>, Encoded<T>> {
        self.backend.try_publish(event)
    }

    fn subscribe(self: Arc<Self>, from: StartAt, after_gap: Option<Start>) -> Box<dyn Reader<T>> {
        let reader = Arc::clone(&self.backend).subscribe(from, after_gap);
        Box::new(Keeping::new(reader, self))
    }

    fn subscribers(&self) -> usize {
        self.backend.subscribers()
    }

    fn unread_since(&self) -> Option<Instant> {
        self.backend.unread_since()
    }

    fn held_bytes(&self) -> usize {
        self.backend.held_bytes()
    }

    fn count_in(&self, sum: &Arc<AtomicUsize>) {
        self.backend.count_in(sum);
    }

    fn finish(&self, owner: Option<RunOwner>) -> Finishing<'_> {
        self.backend.finish(owner.or(self.owner))
    }

    fn fail(&self, failure: Arc<Failure>, owner: Option<RunOwner>) -> Finishing<'_> {
        self.backend.fail(failure, owner.or(self.owner))
    }

    fn catch_up(&self) -> BoxFuture<'_, Result<(), OpenError>> {
        self.backend.catch_up()
    }

    fn holds_everything(&self) -> bool {
        self.backend.holds_everything()
    }

    fn ended_elsewhere(&self) -> BoxFuture<'_, ()> {
        self.backend.ended_elsewhere()
    }

    fn name_in_ids(&self) -> Option<&str> {
        self.has_named_ids.then_some(&self.lease.0.name)
    }

    fn is_new(&self) -> bool {
        self.backend.is_new()
    }

    fn is_finished(&self) -> bool {
        self.backend.is_finished()
    }
}

impl<T> fmt::Debug for Keeping<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reader.fmt(f)
    }
}

impl<T: Send + Sync + 'static> Reader<T> for Keeping<T> {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Read<T>> {
        self.reader.poll_read(cx)
    }

    fn take_gap(&mut self) -> Option<Gap> {
        self.reader.take_gap()
    }

    fn position(&self) -> EventId {
        self.reader.position()
    }

    fn is_done(&self) -> bool {
        self.reader.is_done()
    }

    fn has_failed(&self) -> bool {
        self.reader.has_failed()
    }
}

/// Tracks the leases of a hub's topic.
#[derive(Debug)]
pub(crate) struct Usage {
    pub(crate) name: String,
    users: AtomicUsize,
    /// The time at which a lease was last dropped.
    since: Mutex<Instant>,
    /// Whether the topic is in the hub's list of freed topics, which contains each topic at most
    /// once.
    is_listed: AtomicBool,
    hub: Arc<Freed>,
}

/// A hub's topics that have become unused. The list has its own lock, because a lease may be
/// dropped while the hub's lock (or any other lock) is held.
#[derive(Debug)]
pub(crate) struct Freed {
    list: Mutex<Vec<Arc<Usage>>>,
    /// The total number of bytes held by the hub's topics.
    pub(crate) bytes: Arc<AtomicUsize>,
    max_bytes: usize,
    /// Notified when a topic becomes unused while the hub's topics hold too many bytes in total.
    /// The topic can then be dropped immediately.
    pub(crate) is_over: Notify,
}

impl Freed {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            list: Mutex::default(),
            bytes: Arc::default(),
            max_bytes,
            is_over: Notify::new(),
        }
    }

    /// Returns the number of bytes by which the hub's topics exceed `max_bytes`.
    pub(crate) fn excess(&self) -> usize {
        self.bytes
            .load(Ordering::Relaxed)
            .saturating_sub(self.max_bytes)
    }

    /// Takes the topics that have become unused since the last call. Some of them may already be in
    /// use again.
    pub(crate) fn take(&self) -> Vec<Arc<Usage>> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        for usage in &*list {
            usage.is_listed.store(false, Ordering::Release);
        }
        std::mem::take(&mut *list)
    }
}

impl Usage {
    pub(crate) fn new(name: &str, hub: &Arc<Freed>) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            users: AtomicUsize::new(0),
            since: Mutex::new(Instant::now()),
            is_listed: AtomicBool::new(false),
            hub: Arc::clone(hub),
        })
    }

    /// Creates a lease. The caller must hold the hub's lock. The lock is also held while unused
    /// topics are removed, so no lease can be created for a topic that is being removed.
    pub(crate) fn lease(self: &Arc<Self>) -> Lease {
        self.users.fetch_add(1, Ordering::Relaxed);
        Lease(Arc::clone(self))
    }

    /// Returns the time at which the topic became unused, or `None` if it is in use.
    pub(crate) fn unused_since(&self) -> Option<Instant> {
        let is_unused = self.users.load(Ordering::Acquire) == 0;
        is_unused.then(|| *self.since.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let usage = &self.0;
        // Store the time before decrementing the count so that any thread that sees a count of zero
        // also sees the time.
        *usage.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        if usage.users.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        let hub = &usage.hub;
        let mut list = hub.list.lock().unwrap_or_else(PoisonError::into_inner);
        if !usage.is_listed.swap(true, Ordering::AcqRel) {
            list.push(Arc::clone(usage));
        }
        drop(list);
        if hub.excess() > 0 {
            hub.is_over.notify_one();
        }
    }
}
