//! [`Ring`]: the in-memory back end, which holds the newest events. A reader has no queue and
//! stores only the sequence number of the last event that it has read.

pub(crate) mod cursor;
pub(crate) mod overflow;
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
    backend::{Backend, Encoded, Entry, Publishing, Reader, StartAt},
    publish::PublishError,
};
use crate::{
    event::{
        gap::{Gap, GapReason},
        id::EventId,
        position::{Epoch, ParsedId, Position},
    },
    generator::run_failure::Failure,
};
use cursor::{RingCursor, Stage};
use overflow::{Capacity, Overflow};
use state::{Evicted, State};
use waiters::Waiters;

/// An in-memory topic.
pub(crate) struct Ring<T> {
    epoch: Epoch,
    pub(crate) capacity: Capacity,
    state: Mutex<State<T>>,
    /// The total number of bytes held by the hub's topics, if this topic belongs to a hub.
    sum: OnceLock<Arc<AtomicUsize>>,
}

impl<T> Ring<T> {
    pub(crate) fn new(capacity: Capacity, overflow: Overflow<T>) -> Self {
        Self {
            epoch: Epoch::new(),
            capacity,
            state: Mutex::new(State {
                held: VecDeque::new(),
                bytes: 0,
                newest: BTreeSet::new(),
                unread_since: Some(Instant::now()),
                last: 0,
                overflow,
                finished: false,
                failure: None,
                waiters: Waiters::default(),
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
        let mut gone = Self::new(nothing, Overflow::Skip);
        gone.epoch = Epoch::GONE;
        gone.state().finished = true;
        gone
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State<T>> {
        // A user's key function may panic while the lock is held, which poisons the lock. The state
        // is still valid, because the key function is called before anything is changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn id(&self, number: u64) -> EventId {
        EventId::position(Position::new(self.epoch, number))
    }

    /// Returns the id of the position after event `number`. The id also contains `reported`, the
    /// number of later events already reported to the client as missed.
    pub(crate) fn id_with_reported(&self, number: u64, reported: u64) -> EventId {
        EventId::position(Position::with_reported(self.epoch, number, reported))
    }

    fn add(&self, encoded: Encoded<T>) -> Result<EventId, PublishError> {
        let now = Instant::now();
        // Declare this variable before the guard so that it is dropped after the lock is released,
        // even if a user's key function panics.
        let entry;
        let mut state = self.state();
        if state.finished {
            return Err(PublishError::Finished);
        }
        let number = state.last + 1;
        let id = self.id(number);
        entry = Arc::new(Entry::new(id.clone(), encoded));
        let before = state.bytes;
        let superseded = match &mut state.overflow {
            Overflow::LatestBy(newest) => {
                let superseded = newest.published(number, &entry);
                state.newest.insert(number);
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
        state.held.push_back((now, Arc::clone(&entry)));
        state.bytes += entry.cost();
        state.last = number;
        let gone = self.evict(&mut state, before);
        // The cached batch is outdated, because it does not contain the new event.
        let batch = state.batch.take();
        let waiting = state.waiters.take_waiting();
        drop(state);
        // Wake the readers only after releasing the lock, because a woken reader tries to acquire
        // it immediately.
        for waker in waiting {
            waker.wake();
        }
        drop((superseded, gone, batch));
        Ok(id)
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
    fn end(&self, failure: Option<Arc<Failure>>) {
        let mut state = self.state();
        if state.finished {
            return;
        }
        state.finished = true;
        state.failure = failure;
        let waiting = state.waiters.take_waiting();
        drop(state);
        for waker in waiting {
            waker.wake();
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

    fn subscribe(self: Arc<Self>, from: StartAt) -> Box<dyn Reader<T>> {
        let mut state = self.state();
        let before = state.bytes;
        let gone = self.evict(&mut state, before);
        let (oldest, last) = (state.before_oldest(), state.last);
        let is_done = matches!(from, StartAt::Done(_));
        let by_key = matches!(state.overflow, Overflow::LatestBy(_));
        let mut reported = 0;
        let (number, gap) = match &from {
            StartAt::Start(Start::Now) => (last, None),
            StartAt::Start(Start::First) => (oldest, None),
            StartAt::Start(Start::Latest(count)) => {
                let number = last.saturating_sub(*count as u64).max(oldest);
                (number, None)
            }
            StartAt::Unknown => (oldest, Some(GapReason::Unknown)),
            StartAt::After(id) | StartAt::Done(id) => match ParsedId::parse(id) {
                None => (oldest, Some(GapReason::Unknown)),
                Some(sent) if !self.epoch.is(sent.epoch) => (oldest, Some(GapReason::OtherEpoch)),
                Some(sent)
                    if sent.number.saturating_add(sent.reported.into()) > last
                        || (sent.reported > 0 && !by_key) =>
                {
                    (oldest, Some(GapReason::Unknown))
                }
                // The client has already received everything, including the end.
                Some(_) if is_done && state.finished => (last, None),
                // The first read returns a gap if any events after this id are no longer held.
                Some(sent) => {
                    reported = sent.reported;
                    (sent.number, None)
                }
            },
        };
        let slot = state.waiters.enter();
        state.unread_since = None;
        drop(state);
        drop(gone);
        let is_done = is_done && gap.is_none();
        let stage = match gap {
            Some(reason) => Stage::Gap(Box::new(Gap {
                reason,
                missed: None,
                position: self.id(number),
            })),
            None if matches!(from, StartAt::After(_) | StartAt::Done(_)) => Stage::Resuming,
            None => Stage::Following,
        };
        Box::new(RingCursor::new(
            self,
            stage,
            (number, reported),
            slot,
            is_done,
        ))
    }

    fn subscribers(&self) -> usize {
        self.state().waiters.count()
    }

    fn unread_since(&self) -> Option<Instant> {
        self.state().unread_since
    }

    fn held_bytes(&self) -> usize {
        self.state().bytes
    }

    fn count_in(&self, sum: &Arc<AtomicUsize>) {
        let state = self.state();
        if self.sum.set(Arc::clone(sum)).is_ok() {
            sum.fetch_add(state.bytes, Ordering::Relaxed);
        }
    }

    fn finish(&self) {
        self.end(None);
    }

    fn fail(&self, failure: Arc<Failure>) {
        self.end(Some(failure));
    }

    fn is_finished(&self) -> bool {
        self.state().finished
    }
}

#[cfg(test)]
mod tests;
