//! [`Ring`]: holds a topic's newest events. It is the back end of an in-memory topic, and holds the
//! copy of a stored topic's newest events. A reader has no queue and stores only its position in
//! the ring.

pub(crate) mod cursor;
mod detour;
pub(crate) mod overflow;
mod progress;
mod start;
pub(crate) mod state;
pub(crate) mod waiters;

use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::time::Instant;

use super::{
    Start,
    backend::{Backend, Encoded, Entry, Finishing, Publishing, Reader, StartAt},
    engine::Place,
    engine::RunOwner,
    publish::PublishError,
};
use crate::{
    event::{
        gap::GapReason,
        id::EventId,
        position::{Epoch, Mark, Position},
    },
    generator::run_failure::Failure,
};
use cursor::RingCursor;
use overflow::{Capacity, Overflow};
use progress::Stage;
use start::Opening;
use state::{Branch, Evicted, Source, State};
use waiters::Waiters;

/// A topic's newest events.
pub(crate) struct Ring<T> {
    pub(crate) capacity: Capacity,
    state: Mutex<State<T>>,
    /// The total number of bytes held by the hub's topics, if this topic belongs to a hub.
    sum: OnceLock<Arc<AtomicUsize>>,
}

impl<T> Ring<T> {
    pub(crate) fn new(capacity: Capacity, overflow: Overflow<T>) -> Self {
        Self {
            capacity,
            state: Mutex::new(State {
                epoch: Epoch::random(),
                held: VecDeque::new(),
                bytes: 0,
                newest: BTreeSet::new(),
                unread_since: Some(Instant::now()),
                last: 0,
                is_stored: false,
                boundary: Place::START,
                refilling: None,
                branches: Vec::new(),
                checked: 0,
                overflow,
                finished: false,
                failure: None,
                waiters: Waiters::default(),
                source: None,
                batch: None,
            }),
            sum: OnceLock::new(),
        }
    }

    /// Evicts the events that exceed the capacity. `before` is the number of bytes held before the
    /// caller changed the state. The change since then is added to the hub's total.
    pub(crate) fn evict(&self, state: &mut State<T>, before: usize) -> Evicted<T> {
        let gone = state.evict(&self.capacity);
        if let Some(sum) = self.sum.get() {
            sum.fetch_add(state.bytes.wrapping_sub(before), Ordering::Relaxed);
        }
        gone
    }

    /// Creates a stand-in for the topic of a run that no longer exists. Its readers receive a gap,
    /// followed by the end of the topic.
    pub(crate) fn gone() -> Self {
        let nothing = Capacity {
            events: 0,
            bytes: 0,
            age: None,
        };
        let gone = Self::new(nothing, Overflow::Skip);
        let mut state = gone.state();
        state.epoch = Epoch::GONE;
        state.finished = true;
        drop(state);
        gone
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State<T>> {
        // A user's key function may panic while the lock is held, which poisons the lock. Readers can
        // still use the state: if the panic interrupts a `push`, nothing has changed, and if it
        // interrupts a `cut` or a `clear`, the events have already been removed. Only the newest
        // events of each key and the number of bytes may then be out of date.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, encoded: Encoded<T>) -> Result<EventId, PublishError> {
        let now = Instant::now();
        let state = self.state();
        if let Some(key) = &encoded.key {
            let mut held = state.held.iter().map(|(_, entry)| entry);
            if let Some(stored) = held.find(|entry| entry.key.as_ref() == Some(key)) {
                let id = stored.id.clone();
                drop(state);
                return Ok(id);
            }
        }
        if state.finished {
            return Err(PublishError::Finished);
        }
        let position = Position::new(state.epoch, state.last + 1);
        let entry = Arc::new(Entry::new(position, encoded));
        self.push(entry, state, now);
        Ok(EventId::position(position))
    }

    /// Appends an event stored by an engine.
    pub(crate) fn insert(&self, entry: Arc<Entry<T>>, at: Instant) {
        self.push(entry, self.state(), at);
    }

    /// Appends an event. `entry` is declared before the guard so that it is dropped after the lock
    /// is released, even if a user's key function panics.
    #[inline]
    fn push(&self, entry: Arc<Entry<T>>, mut guard: MutexGuard<'_, State<T>>, at: Instant) {
        let state = &mut *guard;
        let number = state.last + 1;
        let before = state.bytes;
        let superseded = match &mut state.overflow {
            Overflow::LatestBy(newest) => {
                let superseded = newest.published(number, &entry);
                if entry.value.is_some() {
                    state.newest.insert(number);
                }
                superseded
            }
            Overflow::Skip | Overflow::Latest | Overflow::Disconnect => None,
        };
        if let Some((superseded, entry)) = &superseded {
            state.newest.remove(superseded);
            if *superseded <= state.before_oldest() {
                state.bytes -= entry.cost();
            }
        }
        state.bytes += entry.cost();
        state.held.push_back((at, entry));
        state.last = number;
        let gone = self.evict(state, before);
        // The cached batch is outdated, because it does not contain the new event.
        let batch = state.batch.take();
        Self::wake(guard);
        drop((superseded, gone, batch));
    }

    /// Wakes the readers.
    #[inline]
    fn wake(mut state: MutexGuard<'_, State<T>>) {
        let waiting = state.waiters.take_waiting();
        // Wake the readers only after releasing the lock, because a woken reader tries to acquire
        // it immediately.
        drop(state);
        for waker in waiting {
            waker.wake();
        }
    }

    /// Changes the hub's total by the difference between the bytes held now and `before`.
    fn count(&self, state: &State<T>, before: usize) {
        if let Some(sum) = self.sum.get() {
            sum.fetch_add(state.bytes.wrapping_sub(before), Ordering::Relaxed);
        }
    }
}

/// Methods that only a [`Follower`](super::engine::Follower) calls.
impl<T> Ring<T> {
    /// Returns the place of the newest event.
    pub(crate) fn newest(&self) -> Place {
        self.state().newest_place()
    }

    /// Returns the place before the oldest held event.
    pub(crate) fn before_oldest(&self) -> Place {
        self.state().boundary
    }

    /// Returns the mark of the event with this number, if it is known.
    pub(crate) fn mark_at(&self, number: u64) -> Option<Mark> {
        self.state().mark_at(number)
    }

    /// Empties the ring after the engine's log has been given a new epoch.
    pub(crate) fn rebase(&self, epoch: Epoch) {
        let mut state = self.state();
        let before = state.bytes;
        let gone = state.clear();
        self.count(&state, before);
        state.epoch = epoch;
        state.is_stored = true;
        state.boundary = Place::START;
        state.refilling = Some(GapReason::OtherEpoch);
        state.finished = false;
        state.failure = None;
        let after = state.last;
        state.add_branch(Branch::Rebased { after });
        Self::wake(state);
        drop(gone);
    }

    /// Empties the ring and continues after `place`, because the log no longer contains the records
    /// between the ring's newest event and `place`. Readers that have not read everything up to
    /// `place` receive a gap.
    pub(crate) fn skip_to(&self, place: Place) {
        let mut state = self.state();
        let before = state.bytes;
        let newest = state.newest_place().number;
        let held = std::mem::take(&mut state.held);
        for (index, (_, entry)) in held.iter().enumerate() {
            let number = state.last - held.len() as u64 + 1 + index as u64;
            if !state.newest.contains(&number) {
                state.bytes -= entry.cost();
            }
        }
        self.count(&state, before);
        state.last += place.number.saturating_sub(newest);
        state.boundary = place;
        let batch = state.batch.take();
        Self::wake(state);
        drop((held, batch));
    }

    /// Empties the ring, because the engine has lost all events that the ring holds. The caller
    /// then fills the ring with older events that the log still contains.
    pub(crate) fn refill(&self) {
        // Set this first, so that no reader takes the emptied ring for the whole topic.
        self.state().refilling = Some(GapReason::RolledBack);
        self.cut(None);
        self.skip_to(Place::START);
    }

    /// Removes the events after the one with this number, because the engine has lost them. If
    /// `number` is `None`, removes all events. Returns the place of the newest event that remains. Its
    /// number is greater than `number` if the event with this number has become too old.
    pub(crate) fn cut(&self, number: Option<u64>) -> Place {
        let mut state = self.state();
        let before = state.bytes;
        let gone = state.cut(number);
        let newest = state.newest_place();
        self.count(&state, before);
        state.finished = false;
        state.failure = None;
        Self::wake(state);
        drop(gone);
        newest
    }

    /// Returns the number of the last completed repair.
    pub(crate) fn checked(&self) -> u64 {
        self.state().checked
    }

    /// Records that a repair has been completed, and wakes the waiting readers.
    pub(crate) fn set_checked(&self, number: u64) {
        let mut state = self.state();
        let was_refilling = state.refilling.take().is_some();
        if number > state.checked || was_refilling {
            state.checked = state.checked.max(number);
            Self::wake(state);
        }
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        if let Some(sum) = self.sum.get() {
            sum.fetch_sub(self.state().bytes, Ordering::Relaxed);
        }
    }
}

impl<T> Ring<T> {
    /// Finishes the topic. Does nothing if the topic is already finished.
    pub(crate) fn end(&self, failure: Option<Arc<Failure>>) {
        let mut state = self.state();
        if !state.finished {
            state.finished = true;
            state.failure = failure;
            Self::wake(state);
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.state().finished
    }

    pub(crate) fn subscribers(&self) -> usize {
        self.state().waiters.count()
    }

    pub(crate) fn unread_since(&self) -> Option<Instant> {
        self.state().unread_since
    }

    pub(crate) fn held_bytes(&self) -> usize {
        self.state().bytes
    }

    pub(crate) fn count_in(&self, sum: &Arc<AtomicUsize>) {
        let state = self.state();
        if self.sum.set(Arc::clone(sum)).is_ok() {
            sum.fetch_add(state.bytes, Ordering::Relaxed);
        }
    }
}

impl<T> fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Ring")
            .field("held", &state.held.len())
            .field("bytes", &state.bytes)
            .field("last", &state.last)
            .field("overflow", &state.overflow)
            .field("finished", &state.finished)
            .field("readers", &state.waiters.count())
            .finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> Backend<T> for Ring<T> {
    fn publish(&self, event: Encoded<T>) -> Publishing<'_> {
        Box::pin(std::future::ready(self.add(event)))
    }

    fn try_publish(&self, event: Encoded<T>) -> Result<Result<EventId, PublishError>, Encoded<T>> {
        Ok(self.add(event))
    }

    fn subscribe(self: Arc<Self>, from: StartAt, after_gap: Option<Start>) -> Box<dyn Reader<T>> {
        self.subscribe_with(&from, after_gap, None)
    }

    fn subscribers(&self) -> usize {
        self.subscribers()
    }

    fn unread_since(&self) -> Option<Instant> {
        self.unread_since()
    }

    fn held_bytes(&self) -> usize {
        self.held_bytes()
    }

    fn count_in(&self, sum: &Arc<AtomicUsize>) {
        self.count_in(sum);
    }

    fn finish(&self, _: Option<RunOwner>) -> Finishing<'_> {
        Box::pin(async {
            self.end(None);
            Ok(())
        })
    }

    fn fail(&self, failure: Arc<Failure>, _: Option<RunOwner>) -> Finishing<'_> {
        Box::pin(async {
            self.end(Some(failure));
            Ok(())
        })
    }

    fn is_new(&self) -> bool {
        let state = self.state();
        state.last == 0 && !state.finished
    }

    fn is_finished(&self) -> bool {
        self.is_finished()
    }

    fn holds_everything(&self) -> bool {
        self.before_oldest() == Place::START
    }
}

impl<T: Send + Sync + 'static> Ring<T> {
    /// Subscribes to the ring. If an engine stores the topic, `log` contains the follower, which the
    /// ring keeps alive while it has readers, and a function that starts a repair and returns the
    /// repair's number. The function is called if the reader's id is ahead of the ring.
    pub(crate) fn subscribe_with(
        self: &Arc<Self>,
        from: &StartAt,
        after_gap: Option<Start>,
        log: Option<(Source, &dyn Fn() -> u64)>,
    ) -> Box<dyn Reader<T>> {
        let mut state = self.state();
        let before = state.bytes;
        let gone = self.evict(&mut state, before);
        let (start, ask, replaced) = match log {
            None => (state.start_in_memory(from, after_gap), None, None),
            Some((source, ask)) => {
                let start = state.start_in_log(from, after_gap);
                (start, Some(ask), state.source.replace(source))
            }
        };
        // Each reader occupies at least a file descriptor or a task, so there are fewer than 2³²
        // readers.
        let slot = u32::try_from(state.waiters.enter()).unwrap_or(u32::MAX);
        state.unread_since = None;
        let branch = state::branches(&state);
        drop(state);
        drop((gone, replaced));
        let stage = match (start.stage, ask) {
            // The state's lock must not be held, because the repair acquires it.
            (Stage::Ahead { place, .. }, Some(ask)) => Stage::Ahead {
                place,
                repair: ask(),
            },
            (stage, _) => stage,
        };
        Box::new(RingCursor::new(
            Arc::clone(self),
            Opening { stage, ..start },
            after_gap,
            slot,
            branch,
        ))
    }
}

#[cfg(test)]
mod tests;
