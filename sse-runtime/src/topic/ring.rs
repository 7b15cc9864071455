//! [`Ring`]: the back end in memory. The newest events, a cursor for each reader, and nothing of a reader's own.

use std::{
    any::type_name,
    collections::{BTreeSet, HashMap, VecDeque},
    fmt,
    hash::Hash,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Start,
    backend::{Backend, Delivery, Encoded, Entry, From, Publishing, Read, Reader},
    batch::Batch,
    publish::PublishError,
};
use crate::{
    event::{
        gap::{Gap, GapReason},
        id::EventId,
        position::{Epoch, Position, Sent},
    },
    generator::run_failure::Failure,
};

/// How much is held. Whatever is reached first makes the oldest event go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
    pub(crate) age: Option<Duration>,
}

/// What a reader gets whose next event is not held any more.
pub(crate) enum Overflow<T> {
    /// All that are held.
    Skip,
    /// The newest.
    Latest,
    /// The newest of each key.
    LatestBy(Box<dyn NewestOf<T>>),
    /// Its end.
    Disconnect,
}

/// The newest event of each key.
pub(crate) trait NewestOf<T>: Send {
    /// Takes a new event, and returns the one that it supersedes, with its number.
    fn published(&mut self, number: u64, entry: &Arc<Entry<T>>) -> Option<(u64, Arc<Entry<T>>)>;

    /// Those behind a number, in order, with their numbers.
    fn behind(&self, number: u64) -> Vec<(u64, Arc<Entry<T>>)>;

    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

pub(crate) struct NewestByKey<T, K, F> {
    key: F,
    newest: HashMap<K, (u64, Arc<Entry<T>>)>,
}

impl<T, K, F> NewestByKey<T, K, F> {
    pub(crate) fn new(key: F) -> Self {
        Self {
            key,
            newest: HashMap::new(),
        }
    }
}

impl<T, K, F> NewestOf<T> for NewestByKey<T, K, F>
where
    T: Send + Sync,
    K: Hash + Eq + Send,
    F: Fn(&T) -> K + Send,
{
    fn published(&mut self, number: u64, entry: &Arc<Entry<T>>) -> Option<(u64, Arc<Entry<T>>)> {
        let key = (self.key)(&entry.value);
        self.newest.insert(key, (number, Arc::clone(entry)))
    }

    fn behind(&self, number: u64) -> Vec<(u64, Arc<Entry<T>>)> {
        let newest = self.newest.values();
        let mut behind: Vec<_> = newest.filter(|(of, _)| *of > number).cloned().collect();
        behind.sort_unstable_by_key(|(of, _)| *of);
        behind
    }

    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LatestBy")
            .field("key", &type_name::<K>())
            .field("keys", &self.newest.len())
            .finish()
    }
}

impl<T> fmt::Debug for Overflow<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skip => f.write_str("Skip"),
            Self::Latest => f.write_str("Latest"),
            Self::LatestBy(newest) => newest.fmt(f),
            Self::Disconnect => f.write_str("Disconnect"),
        }
    }
}

pub(crate) struct Ring<T> {
    epoch: Epoch,
    capacity: Capacity,
    state: Mutex<State<T>>,
    /// Where it counts what it holds, beside others.
    sum: OnceLock<Arc<AtomicUsize>>,
}

struct State<T> {
    /// Their numbers are without a gap, and `last` is that of the newest.
    held: VecDeque<(Instant, Arc<Entry<T>>)>,
    /// Of all that is held, in the ring or as the newest of its key.
    bytes: usize,
    /// The numbers of the newest event of each key.
    newest: BTreeSet<u64>,
    /// Since when there is no reader.
    unread_since: Option<Instant>,
    last: u64,
    overflow: Overflow<T>,
    finished: bool,
    /// Why it is finished, if it is because of that.
    failure: Option<Arc<Failure>>,
    readers: Readers,
    /// What was read last by one who was several events behind, until there is more to read, or nobody left: after a deploy all
    /// come back to the same place, one after the other.
    batch: Option<Behind<T>>,
}

/// The batch of whoever has read up to this number.
struct Behind<T> {
    number: u64,
    batch: Arc<Batch<T>>,
}

/// What a topic does not hold any more, to be dropped behind the lock: a user's destructor may ask for it.
#[must_use = "it is dropped behind the lock"]
struct Gone<T> {
    _entries: Vec<Arc<Entry<T>>>,
    _batch: Option<Behind<T>>,
}

impl<T> State<T> {
    /// The number behind which all is held.
    fn behind_oldest(&self) -> u64 {
        self.last - self.held.len() as u64
    }

    fn take_oldest(&mut self) -> Option<Arc<Entry<T>>> {
        let number = self.behind_oldest() + 1;
        let (_, entry) = self.held.pop_front()?;
        if !self.newest.contains(&number) {
            self.bytes -= entry.cost();
        }
        Some(entry)
    }

    /// The next events behind this number, of which there are some; with them what is given up for them, to be dropped behind
    /// the lock.
    fn batch_behind(&mut self, number: u64) -> (Arc<Batch<T>>, Option<Behind<T>>) {
        if let Some(behind) = &self.batch
            && behind.number == number
        {
            return (Arc::clone(&behind.batch), None);
        }
        let first = usize::try_from(number - self.behind_oldest()).unwrap_or(usize::MAX);
        let behind = self.held.range(first..);
        let batch = Batch::of(behind.map(|(_, entry)| Delivery::of(entry)));
        let behind = Behind {
            number,
            batch: Arc::clone(&batch),
        };
        (batch, self.batch.replace(behind))
    }

    /// Takes out what has become too old, too many, or too large. The newest stays, however large it is.
    fn evict(&mut self, capacity: &Capacity) -> Gone<T> {
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
        let oldest = self.behind_oldest();
        Gone {
            _entries: entries,
            _batch: self.batch.take_if(|behind| behind.number < oldest),
        }
    }

    /// Returns what goes with this reader, to be dropped behind the lock.
    fn leave(&mut self, place: usize) -> (Option<Waker>, Option<Behind<T>>) {
        let waited = self.readers.leave(place);
        let was_last = self.readers.count() == 0;
        if was_last {
            self.unread_since = Some(Instant::now());
        }
        (waited, self.batch.take_if(|_| was_last))
    }
}

/// Who waits for the next event: a place for each reader, so that a publisher goes through them once.
#[derive(Debug, Default)]
struct Readers {
    waiting: Vec<Option<Waker>>,
    /// Places that nobody has, none of them the last.
    free: BTreeSet<usize>,
}

impl Readers {
    fn enter(&mut self) -> usize {
        if let Some(place) = self.free.pop_first() {
            return place;
        }
        self.waiting.push(None);
        self.waiting.len() - 1
    }

    fn leave(&mut self, place: usize) -> Option<Waker> {
        let waker = self.waiting[place].take();
        self.free.insert(place);
        // What a crowd took is given back as it goes, and no publisher goes through it any more.
        while let Some(last) = self.waiting.len().checked_sub(1)
            && self.free.remove(&last)
        {
            self.waiting.pop();
        }
        if self.waiting.capacity() > 4 * self.waiting.len().max(16) {
            self.waiting.shrink_to(2 * self.waiting.len());
        }
        waker
    }

    /// Returns the waker that waited here before, of another task.
    fn wait(&mut self, place: usize, cx: &Context<'_>) -> Option<Waker> {
        match &mut self.waiting[place] {
            Some(waker) if waker.will_wake(cx.waker()) => None,
            place => place.replace(cx.waker().clone()),
        }
    }

    fn take_waiting(&mut self) -> Vec<Waker> {
        // Once, whatever the crowd: a publish allocates the same for however many.
        let mut waiting = Vec::with_capacity(self.waiting.len());
        waiting.extend(self.waiting.iter_mut().filter_map(Option::take));
        waiting
    }

    fn count(&self) -> usize {
        self.waiting.len() - self.free.len()
    }
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
                readers: Readers::default(),
                batch: None,
            }),
            sum: OnceLock::new(),
        }
    }

    /// Takes out what is too much, and counts what that has changed since `before`.
    fn evict(&self, state: &mut State<T>, before: usize) -> Gone<T> {
        let gone = state.evict(&self.capacity);
        if let Some(sum) = self.sum.get() {
            sum.fetch_add(state.bytes.wrapping_sub(before), Ordering::Relaxed);
        }
        gone
    }

    /// What is read of a run that is gone: nothing, after a gap.
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

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // A user's key function may panic in here, before anything has been changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn id(&self, number: u64) -> EventId {
        EventId::position(Position::new(self.epoch, number))
    }

    /// The id for a client that has been informed that it will miss `told` of the events after this number.
    fn id_with_told(&self, number: u64, told: u64) -> EventId {
        EventId::position(Position::with_told(self.epoch, number, told))
    }

    fn add(&self, encoded: Encoded<T>) -> Result<EventId, PublishError> {
        let now = Instant::now();
        // Dropped behind the lock also where a user's key function panics.
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
            if *superseded <= state.behind_oldest() {
                state.bytes -= entry.cost();
            }
        }
        state.held.push_back((now, Arc::clone(&entry)));
        state.bytes += entry.cost();
        state.last = number;
        let gone = self.evict(&mut state, before);
        // Whoever is as far behind has more to read now.
        let batch = state.batch.take();
        let waiting = state.readers.take_waiting();
        drop(state);
        // Not under the lock, which is the first thing that whoever is woken wants.
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
    /// The first end is the one that counts.
    fn end(&self, failure: Option<Arc<Failure>>) {
        let mut state = self.state();
        if state.finished {
            return;
        }
        state.finished = true;
        state.failure = failure;
        let waiting = state.readers.take_waiting();
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
            .field("readers", &state.readers.count())
            .finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> Backend<T> for Ring<T> {
    fn publish(&self, event: Encoded<T>) -> Publishing<'_> {
        Box::pin(std::future::ready(self.add(event)))
    }

    fn publish_now(&self, event: Encoded<T>) -> Result<Result<EventId, PublishError>, Encoded<T>> {
        Ok(self.add(event))
    }

    fn subscribe(self: Arc<Self>, from: From) -> Box<dyn Reader<T>> {
        let mut state = self.state();
        let before = state.bytes;
        let gone = self.evict(&mut state, before);
        let (oldest, last) = (state.behind_oldest(), state.last);
        let is_done = matches!(from, From::Done(_));
        let by_key = matches!(state.overflow, Overflow::LatestBy(_));
        let mut told = 0;
        let (behind, gap) = match &from {
            From::Start(Start::Now) => (last, None),
            From::Start(Start::First) => (oldest, None),
            From::Start(Start::Latest(count)) => {
                let behind = last.saturating_sub(*count as u64).max(oldest);
                (behind, None)
            }
            From::Unknown => (oldest, Some(GapReason::Unknown)),
            From::Behind(id) | From::Done(id) => match Sent::parse(id) {
                None => (oldest, Some(GapReason::Unknown)),
                Some(sent) if !self.epoch.is(sent.epoch) => (oldest, Some(GapReason::OtherEpoch)),
                Some(sent)
                    if sent.number.saturating_add(sent.told.into()) > last
                        || (sent.told > 0 && !by_key) =>
                {
                    (oldest, Some(GapReason::Unknown))
                }
                // It has read all that there is.
                Some(_) if is_done && state.finished => (last, None),
                // What is not held any more is found out by reading.
                Some(sent) => {
                    told = sent.told;
                    (sent.number, None)
                }
            },
        };
        let place = state.readers.enter();
        state.unread_since = None;
        drop(state);
        drop(gone);
        let is_resuming = matches!(from, From::Behind(_) | From::Done(_));
        let is_done = is_done && gap.is_none();
        let gap = gap.map(|reason| {
            Box::new(Gap {
                reason,
                missed: None,
                position: self.id(behind),
            })
        });
        Box::new(Cursor {
            ring: self,
            behind,
            told,
            place,
            gap,
            kept: VecDeque::new(),
            is_resuming,
            is_done,
        })
    }

    fn subscribers(&self) -> usize {
        self.state().readers.count()
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

/// A reader of a [`Ring`].
struct Cursor<T> {
    ring: Arc<Ring<T>>,
    /// The number of what was read last.
    behind: u64,
    /// How many of those behind it the client was told that it will not get, by the id that it has sent.
    told: u32,
    place: usize,
    /// Still to be told.
    gap: Option<Box<Gap>>,
    /// Still to be given, before what is behind.
    kept: VecDeque<Delivery<T>>,
    /// It has not read yet, so what is missed was missed while it was away.
    is_resuming: bool,
    /// The client has received the end of this topic.
    is_done: bool,
}

impl<T: Send + Sync + 'static> Reader<T> for Cursor<T> {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Read<T>> {
        if let Some(gap) = self.take_gap() {
            return Poll::Ready(Read::Gap(gap));
        }
        if !self.kept.is_empty() {
            let batch = Batch::of(self.kept.iter().cloned());
            self.kept.drain(..batch.deliveries().len());
            return Poll::Ready(Read::Events {
                batch,
                more: !self.kept.is_empty(),
                waits: false,
            });
        }
        // Dropped behind the lock.
        let _gone;
        let _waited;
        let _replaced;
        let mut state = self.ring.state();
        // Nothing else makes an event go that was held when it was published.
        if self.ring.capacity.age.is_some() {
            let before = state.bytes;
            _gone = self.ring.evict(&mut state, before);
        }
        let oldest = state.behind_oldest();
        // A client that left among the newest of each key goes on with those: of the others it was told.
        if self.behind < oldest || self.told > 0 {
            let reason = if mem::take(&mut self.is_resuming) {
                GapReason::TooOld
            } else {
                GapReason::Overtaken
            };
            // Where reading goes on, what of the time before that is left, and the id to tell.
            let (go_on, kept) = match &state.overflow {
                Overflow::Skip => (oldest, Vec::new()),
                Overflow::Latest => {
                    let newest = state.last.saturating_sub(1).max(oldest);
                    (newest, Vec::new())
                }
                Overflow::LatestBy(newest) => (state.last, newest.behind(self.behind)),
                Overflow::Disconnect if reason == GapReason::TooOld => (oldest, Vec::new()),
                Overflow::Disconnect => return Poll::Ready(Read::Lagged),
            };
            let by_key = matches!(state.overflow, Overflow::LatestBy(_));
            drop(state);
            let superseded = go_on - self.behind - kept.len() as u64;
            let missed = superseded - u64::from(mem::take(&mut self.told));
            // A client that leaves in the middle of the kept ones returns for the rest, and its id says
            // how many of those behind it are not to be counted again.
            let position = match by_key {
                true => self.ring.id_with_told(self.behind, superseded),
                false => self.ring.id(go_on),
            };
            let count = kept.len() as u64;
            let kept = (1..).zip(kept).map(|(given, (number, entry))| {
                let superseded = go_on - number - (count - given);
                Delivery {
                    id: (superseded > 0).then(|| self.ring.id_with_told(number, superseded)),
                    ..Delivery::of(&entry)
                }
            });
            self.kept = kept.collect();
            self.behind = go_on;
            // All may be there that was to come, since nothing of it was superseded.
            if missed > 0 {
                return Poll::Ready(Read::Gap(Gap {
                    reason,
                    missed: Some(missed),
                    position,
                }));
            }
            return self.poll_read(cx);
        }
        self.is_resuming = false;
        let count = state.last - self.behind;
        // Most readers are never more than one event behind, and wait for the next.
        let read = if count == 1
            && let Some((_, entry)) = state.held.back()
        {
            self.behind += 1;
            Read::Event {
                delivery: Delivery::of(entry),
                waits: !state.finished,
            }
        } else if count > 0 {
            let batch;
            (batch, _replaced) = state.batch_behind(self.behind);
            self.behind += batch.deliveries().len() as u64;
            let more = self.behind < state.last;
            let waits = !more && !state.finished;
            Read::Events { batch, more, waits }
        } else if let Some(failure) = &state.failure {
            return Poll::Ready(Read::Failed(Arc::clone(failure)));
        } else if state.finished {
            return Poll::Ready(Read::End);
        } else {
            _waited = state.readers.wait(self.place, cx);
            return Poll::Pending;
        };
        if let Read::Event { waits: true, .. } | Read::Events { waits: true, .. } = read {
            _waited = state.readers.wait(self.place, cx);
        }
        Poll::Ready(read)
    }

    fn take_gap(&mut self) -> Option<Gap> {
        let gap = self.gap.take()?;
        self.is_resuming = false;
        Some(*gap)
    }

    fn position(&self) -> EventId {
        self.ring.id_with_told(self.behind, self.told.into())
    }

    fn is_done(&self) -> bool {
        self.is_done
    }

    fn has_failed(&self) -> bool {
        let state = self.ring.state();
        state.failure.as_ref().is_some_and(|end| !end.is_stop)
    }
}

impl<T> fmt::Debug for Cursor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor")
            .field("behind", &self.behind)
            .field("ring", &self.ring)
            .finish_non_exhaustive()
    }
}

impl<T> Drop for Cursor<T> {
    fn drop(&mut self) {
        let left = self.ring.state().leave(self.place);
        // Not under the lock: to drop a waker may drop a task.
        drop(left);
    }
}

#[cfg(test)]
mod tests;
