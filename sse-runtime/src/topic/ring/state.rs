//! [`State`]: the events and readers of a [`Ring`](super::Ring), protected by the ring's lock.

use std::{
    cmp::Ordering,
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
    event::{
        gap::GapReason,
        position::{Epoch, Mark, Position},
    },
    generator::run_failure::Failure,
    topic::{
        backend::{Delivery, Entry},
        batch::Batch,
        engine::Place,
    },
};

pub(crate) struct State<T> {
    pub(crate) epoch: Epoch,
    /// The held events. Their sequence numbers are consecutive and end with `last`. In an in-memory
    /// topic, an event's sequence number is also the number in its id. In a stored topic, the
    /// numbers in the ids may have gaps.
    pub(crate) held: VecDeque<(Instant, Arc<Entry<T>>)>,
    /// The total cost of all held events, whether they are held in the ring or as the newest event
    /// of a key.
    pub(crate) bytes: usize,
    /// The sequence number of each key's newest event.
    pub(crate) newest: BTreeSet<u64>,
    /// The time at which the last reader left, or `None` while there are readers.
    pub(crate) unread_since: Option<Instant>,
    pub(crate) last: u64,
    /// Whether an engine stores the topic.
    pub(crate) is_stored: bool,
    /// The place before the oldest held event, numbered as in the events' ids. Tracked only if an
    /// engine stores the topic. In an in-memory topic, it follows from the sequence numbers.
    pub(crate) boundary: Place,
    /// The reason for the gap that a reader without an id receives first while the emptied ring is
    /// being refilled from the log, or `None` if the ring is not being refilled. Without this gap,
    /// the reader would mistake old events for new ones.
    pub(crate) refilling: Option<GapReason>,
    /// The changes that may force a reader to continue at another position. Empty while there are
    /// no readers.
    pub(crate) branches: Vec<Branch>,
    /// The number of the last completed repair. Readers may wait for a repair to complete.
    pub(crate) checked: u64,
    pub(crate) overflow: Overflow<T>,
    pub(crate) finished: bool,
    /// The failure that finished the topic, if any.
    pub(crate) failure: Option<Arc<Failure>>,
    pub(crate) waiters: Waiters,
    /// The follower, if an engine stores the topic and there are readers.
    pub(crate) source: Option<Source>,
    /// The last batch built for a lagging reader. It is kept so that other readers at the same
    /// position can share it, for example when many clients resume after a deployment. The batch is
    /// dropped when the next event is published or the last reader leaves.
    pub(crate) batch: Option<CachedBatch<T>>,
}

/// The follower that keeps the ring of a stored topic up to date. A reader may outlive the topic's
/// handles, so the ring keeps the follower alive while it has readers.
pub(crate) type Source = Arc<dyn Send + Sync>;

/// The values released by a reader that leaves. They must be dropped after the lock is released.
pub(crate) struct Left<T> {
    _waker: Option<Waker>,
    _batch: Option<CachedBatch<T>>,
    _source: Option<Source>,
}

/// A change that removes events that a reader may already have read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Branch {
    /// The events after this sequence number were removed, because the engine has lost them.
    Cut { kept: u64 },
    /// The ring was emptied, because the engine has lost the topic. The next event follows this
    /// sequence number.
    Rebased { after: u64 },
}

/// The location of a client's id in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Located {
    /// After the event with this sequence number, which the ring may no longer hold.
    At(u64),
    /// After the newest event.
    Ahead,
    /// At an event that differs from the ring's event with this number. The engine has lost one of
    /// the two events, and the ring may not have been repaired yet.
    Differs,
    /// The id cannot be resumed.
    Nowhere(GapReason),
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

/// Returns the number of the ring's branches.
pub(super) fn branches<T>(state: &State<T>) -> u32 {
    // A branch is added only when the engine loses events while the topic has readers, so the
    // number is small.
    u32::try_from(state.branches.len()).unwrap_or(u32::MAX)
}

/// Returns the place of an event, as it appears in the event's id.
pub(super) fn place<T>(entry: &Entry<T>) -> Place {
    let position = entry.position();
    Place {
        number: position.number(),
        mark: position.mark,
    }
}

impl<T> State<T> {
    /// Returns the place of the newest event.
    pub(crate) fn newest_place(&self) -> Place {
        let newest = self.held.back();
        newest.map_or(self.boundary, |(_, entry)| place(entry))
    }

    /// Returns the place of the event with this sequence number. The event must be held, or be the
    /// event directly before the oldest held event.
    pub(crate) fn place_of(&self, number: u64) -> Place {
        match self.held_at(number) {
            Some(entry) => place(entry),
            None if self.is_stored => self.boundary,
            None => Place { number, mark: None },
        }
    }

    /// Returns the position after this place.
    pub(crate) fn position_after(&self, Place { number, mark }: Place) -> Position {
        Position::with_mark(self.epoch, number, mark)
    }

    fn held_at(&self, number: u64) -> Option<&Entry<T>> {
        let index = number.checked_sub(self.before_oldest() + 1)?;
        let (_, entry) = self.held.get(usize::try_from(index).ok()?)?;
        Some(entry)
    }

    /// Returns the index of the first held event whose id contains `number` or a higher number.
    fn index_of(&self, number: u64) -> usize {
        self.held
            .partition_point(|(_, entry)| entry.position().number() < number)
    }

    /// Returns the mark of the event whose id contains this number, if the mark is known.
    pub(crate) fn mark_at(&self, number: u64) -> Option<Mark> {
        if number == self.boundary.number {
            return self.boundary.mark;
        }
        let (_, entry) = self.held.get(self.index_of(number))?;
        let position = entry.position();
        (position.number() == number)
            .then_some(position.mark)
            .flatten()
    }

    /// Locates a client's id in a stored topic. The caller has already checked its epoch.
    pub(crate) fn locate(&self, sent: Place) -> Located {
        let unmarked = sent.mark.is_none() && sent.number > 0;
        if unmarked || sent.mark.is_some() && sent.number == 0 {
            return Located::Nowhere(GapReason::Unknown);
        }
        if sent.number > self.newest_place().number {
            return Located::Ahead;
        }
        let oldest = self.before_oldest();
        let (number, mark) = match sent.number.cmp(&self.boundary.number) {
            // The ring no longer knows the mark.
            Ordering::Less => {
                let missing = self.boundary.number - sent.number;
                return Located::At(oldest.saturating_sub(missing));
            }
            Ordering::Equal => (oldest, self.boundary.mark),
            Ordering::Greater => {
                let index = self.index_of(sent.number);
                let found = self.held.get(index).map(|(_, entry)| place(entry));
                let Some(place) = found.filter(|place| place.number == sent.number) else {
                    return Located::Nowhere(GapReason::Unknown);
                };
                (oldest + index as u64 + 1, place.mark)
            }
        };
        match mark {
            Some(mark) if sent.mark != Some(mark) => Located::Differs,
            _ => Located::At(number),
        }
    }

    /// Removes the events after the one whose id contains this number. If `number` is `None`,
    /// removes all events.
    pub(crate) fn cut(&mut self, number: Option<u64>) -> Evicted<T> {
        let kept = number.map_or(0, |number| self.index_of(number.saturating_add(1)));
        let removed = self.held.split_off(kept);
        self.last -= removed.len() as u64;
        for (_, entry) in &removed {
            self.bytes -= entry.cost();
        }
        let kept = if number.is_none() { 0 } else { self.last };
        self.add_branch(Branch::Cut { kept });
        // Last, because it calls the user's key function, which may panic.
        let mut entries = self.forget_newest_after(kept);
        entries.extend(removed.into_iter().map(|(_, entry)| entry));
        Evicted {
            _entries: entries,
            _batch: self.batch.take(),
        }
    }

    /// Removes all events.
    pub(crate) fn clear(&mut self) -> Evicted<T> {
        let held = std::mem::take(&mut self.held);
        let mut entries = self.forget_newest_after(0);
        entries.extend(held.into_iter().map(|(_, entry)| entry));
        self.bytes = 0;
        Evicted {
            _entries: entries,
            _batch: self.batch.take(),
        }
    }

    pub(crate) fn add_branch(&mut self, branch: Branch) {
        if self.waiters.count() > 0 {
            self.branches.push(branch);
        }
    }

    /// Removes the events after `last` from the newest events of each key. Each removed event is
    /// replaced by the newest held event of the same key, if any.
    fn forget_newest_after(&mut self, last: u64) -> Vec<Arc<Entry<T>>> {
        let oldest = self.before_oldest();
        let Overflow::LatestBy(newest) = &mut self.overflow else {
            return Vec::new();
        };
        let forgotten = newest.after(last);
        for (number, entry) in &forgotten {
            newest.remove(entry);
            self.newest.remove(number);
            if *number <= oldest {
                self.bytes -= entry.cost();
            }
        }
        for (index, (_, entry)) in self.held.iter().enumerate().rev() {
            let number = oldest + 1 + index as u64;
            if newest.restore(number, entry) {
                self.newest.insert(number);
            }
        }
        forgotten.into_iter().map(|(_, entry)| entry).collect()
    }

    /// Returns the sequence number before that of the oldest held event.
    #[inline]
    pub(crate) fn before_oldest(&self) -> u64 {
        self.last - self.held.len() as u64
    }

    #[inline]
    fn take_oldest(&mut self) -> Option<Arc<Entry<T>>> {
        let number = self.before_oldest() + 1;
        let (_, entry) = self.held.pop_front()?;
        if self.is_stored {
            self.boundary = place(&entry);
        }
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
    pub(crate) fn leave(&mut self, slot: usize) -> Left<T> {
        let waited = self.waiters.leave(slot);
        let was_last = self.waiters.count() == 0;
        if was_last {
            self.unread_since = Some(Instant::now());
            self.branches.clear();
        }
        Left {
            _waker: waited,
            _batch: self.batch.take_if(|_| was_last),
            _source: self.source.take_if(|_| was_last),
        }
    }
}
