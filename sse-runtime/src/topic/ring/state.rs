//! [`State`]: the events and readers of a [`Ring`](super::Ring), protected by the ring's lock.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    task::Waker,
};

use tokio::time::Instant;

use super::{
    overflow::{Capacity, Overflow},
    waiters::Waiters,
};
use crate::{
    generator::run_failure::Failure,
    topic::{
        backend::{Delivery, Entry},
        batch::Batch,
    },
};

pub(crate) struct State<T> {
    /// The held events. Their sequence numbers are consecutive and end with `last`.
    pub(crate) held: VecDeque<(Instant, Arc<Entry<T>>)>,
    /// The total cost of all held events, whether they are held in the ring or as the newest event
    /// of a key.
    pub(crate) bytes: usize,
    /// The sequence number of each key's newest event.
    pub(crate) newest: BTreeSet<u64>,
    /// The time at which the last reader left, or `None` while there are readers.
    pub(crate) unread_since: Option<Instant>,
    pub(crate) last: u64,
    pub(crate) overflow: Overflow<T>,
    pub(crate) finished: bool,
    /// The failure that finished the topic, if any.
    pub(crate) failure: Option<Arc<Failure>>,
    pub(crate) waiters: Waiters,
    /// The last batch built for a lagging reader. It is kept so that other readers at the same
    /// position can share it, for example when many clients resume after a deployment. The batch is
    /// dropped when the next event is published or the last reader leaves.
    pub(crate) batch: Option<CachedBatch<T>>,
}

/// A batch for readers that have read up to event `number`.
pub(crate) struct CachedBatch<T> {
    pub(crate) number: u64,
    pub(crate) batch: Arc<Batch<T>>,
}

/// Events that are no longer held. They must be dropped after the lock is released, because the
/// destructors of users' values may acquire it.
#[must_use = "drop it after the lock is released"]
pub(crate) struct Evicted<T> {
    _entries: Vec<Arc<Entry<T>>>,
    _batch: Option<CachedBatch<T>>,
}

impl<T> State<T> {
    /// Returns the sequence number before that of the oldest held event.
    #[inline]
    pub(crate) fn before_oldest(&self) -> u64 {
        self.last - self.held.len() as u64
    }

    #[inline]
    fn take_oldest(&mut self) -> Option<Arc<Entry<T>>> {
        let number = self.before_oldest() + 1;
        let (_, entry) = self.held.pop_front()?;
        if !self.newest.contains(&number) {
            self.bytes -= entry.cost();
        }
        Some(entry)
    }

    /// Returns a batch of the events after `number`, along with the cached batch that it replaces,
    /// if any. There must be at least one event after `number`. The caller must drop the replaced
    /// batch after releasing the lock.
    #[inline]
    pub(crate) fn batch_after(&mut self, number: u64) -> (Arc<Batch<T>>, Option<CachedBatch<T>>) {
        if let Some(cached) = &self.batch
            && cached.number == number
        {
            return (Arc::clone(&cached.batch), None);
        }
        let first = usize::try_from(number - self.before_oldest()).unwrap_or(usize::MAX);
        let following = self.held.range(first..);
        let batch = Batch::of(following.map(|(_, entry)| Delivery::of(entry)));
        let cached = CachedBatch {
            number,
            batch: Arc::clone(&batch),
        };
        (batch, self.batch.replace(cached))
    }

    /// Evicts the events that exceed the capacity. The newest event is kept regardless of its size,
    /// unless it is too old.
    #[inline]
    pub(crate) fn evict(&mut self, capacity: &Capacity) -> Evicted<T> {
        let mut entries = Vec::new();
        while self.held.len() > capacity.events.max(1)
            || (self.bytes > capacity.bytes && self.held.len() > 1)
        {
            entries.extend(self.take_oldest());
        }
        if let Some(age) = capacity.age {
            let now = Instant::now();
            let is_old = |at: Instant| now.duration_since(at) > age;
            while self.held.front().is_some_and(|(at, _)| is_old(*at)) {
                entries.extend(self.take_oldest());
            }
        }
        let oldest = self.before_oldest();
        Evicted {
            _entries: entries,
            _batch: self.batch.take_if(|cached| cached.number < oldest),
        }
    }

    /// Removes a reader. The returned values must be dropped after the lock is released.
    pub(crate) fn leave(&mut self, slot: usize) -> (Option<Waker>, Option<CachedBatch<T>>) {
        let waited = self.waiters.leave(slot);
        let was_last = self.waiters.count() == 0;
        if was_last {
            self.unread_since = Some(Instant::now());
        }
        (waited, self.batch.take_if(|_| was_last))
    }
}
