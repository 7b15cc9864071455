//! [`Lease`]: who uses a topic of a hub, so that the hub knows which topics nobody uses, and since when.

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
    PublishError,
    backend::{Backend, Encoded, Publishing, Read, Reader, StartAt},
};
use crate::{
    event::{gap::Gap, id::EventId},
    generator::run_failure::Failure,
};

/// A handle or a subscription of a topic of a hub. The topic is in use as long as there is one.
#[derive(Debug)]
pub(crate) struct Lease(Arc<Usage>);

/// The back end of a handle that a hub has given away: its topic is in use until all clones of the
/// handle are dropped, with their subscriptions. Other topics need no room for that.
pub(crate) struct InUse<T> {
    backend: Arc<dyn Backend<T>>,
    _lease: Lease,
}

/// A reader of it.
struct Reading<T> {
    reader: Box<dyn Reader<T>>,
    _topic: Arc<InUse<T>>,
}

impl<T> InUse<T> {
    pub(crate) fn new(backend: &Arc<dyn Backend<T>>, lease: Lease) -> Self {
        Self {
            backend: Arc::clone(backend),
            _lease: lease,
        }
    }
}

impl<T> fmt::Debug for InUse<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.backend.fmt(f)
    }
}

impl<T: Send + Sync + 'static> Backend<T> for InUse<T> {
    fn publish(&self, event: Encoded<T>) -> Publishing<'_> {
        self.backend.publish(event)
    }

    fn try_publish(&self, event: Encoded<T>) -> Result<Result<EventId, PublishError>, Encoded<T>> {
        self.backend.try_publish(event)
    }

    fn subscribe(self: Arc<Self>, from: StartAt) -> Box<dyn Reader<T>> {
        Box::new(Reading {
            reader: Arc::clone(&self.backend).subscribe(from),
            _topic: self,
        })
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

    fn finish(&self) {
        self.backend.finish();
    }

    fn fail(&self, failure: Arc<Failure>) {
        self.backend.fail(failure);
    }

    fn is_finished(&self) -> bool {
        self.backend.is_finished()
    }
}

impl<T> fmt::Debug for Reading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reader.fmt(f)
    }
}

impl<T: Send + Sync + 'static> Reader<T> for Reading<T> {
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

/// How a topic of a hub is used.
#[derive(Debug)]
pub(crate) struct Usage {
    pub(crate) name: String,
    users: AtomicUsize,
    /// When the last user has gone.
    since: Mutex<Instant>,
    /// It is among the freed ones of its hub, once at most.
    is_listed: AtomicBool,
    hub: Arc<Freed>,
}

/// What the topics of a hub tell it: a lock of its own, because a lease may be dropped under any other.
#[derive(Debug)]
pub(crate) struct Freed {
    list: Mutex<Vec<Arc<Usage>>>,
    /// How many bytes all its topics hold.
    pub(crate) bytes: Arc<AtomicUsize>,
    max_bytes: usize,
    /// The topics hold too much, and one of them may leave.
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

    /// How many bytes there are too many.
    pub(crate) fn excess(&self) -> usize {
        self.bytes
            .load(Ordering::Relaxed)
            .saturating_sub(self.max_bytes)
    }

    /// Takes those that nobody has used at some time since the last call.
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

    /// A use of the topic. Filter its hub makes one from nothing, under its lock.
    pub(crate) fn lease(self: &Arc<Self>) -> Lease {
        self.users.fetch_add(1, Ordering::Relaxed);
        Lease(Arc::clone(self))
    }

    /// Since when nobody uses it.
    pub(crate) fn unused_since(&self) -> Option<Instant> {
        let is_unused = self.users.load(Ordering::Acquire) == 0;
        is_unused.then(|| *self.since.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let usage = &self.0;
        // Before the count, so that whoever sees nobody sees this as well.
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
