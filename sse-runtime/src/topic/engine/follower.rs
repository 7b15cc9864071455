//! [`Follower`]: keeps a topic's ring equal to the newest part of an engine's log.
//!
//! ```text
//!  Repairing <--------------------------------- Live
//!      |        the feed has skipped a record     ^
//!      |        the engine's tail differs         |
//!      +------------------------------------------+
//!          the log has been read to its end
//! ```
//!
//! | state | a record from the feed |
//! | --- | --- |
//! | `Repairing` | is buffered and applied after the log has been read, unless it was received before the last read began |
//! | `Live` | is inserted into the ring if it follows the ring's newest record, is ignored if the ring already contains it, and otherwise starts a repair |
//!
//! A topic that is being opened is `Repairing` and has no epoch yet. Because the feed is started
//! before the log is read, no record is missed in between.
//!
//! A repair compares marks. If the engine has lost events that the ring contains, the repair finds
//! the newest event that the ring and the log have in common, and removes all later events from the
//! ring. Readers that have read any of the removed events receive a gap.

use std::{
    any::{Any, type_name},
    collections::{HashMap, VecDeque},
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    AppendError, Body, BoxFuture, End, Epoch, Keep, Key, Kind, Node, Page, Place, Record, Stored,
    Tail, Unreachable,
    node::{Follow, Inner},
};
use crate::{
    event::{frame::EncodeError, id::EventId, position::Position},
    generator::run_failure::Failure,
    lifecycle::close_reason::CloseReason,
    topic::{
        OpenError,
        backend::{Backend, Encoded, Entry, Finishing, Publishing, Reader, StartAt},
        publish::PublishError,
        ring::Ring,
    },
};

/// The approximate size of a page read from the log, in bytes.
const PAGE: usize = 1024 * 1024;

/// The time limit for each read.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum time that opening a topic waits for the engine.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// The delays between attempts to repair a topic: the first and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The maximum number of records buffered during a repair. If more arrive, the buffer is discarded
/// and the records are read from the log instead.
const BUFFERED: usize = 1024;

/// The maximum size of the buffered records, in bytes.
const BUFFERED_BYTES: usize = 8 * 1024 * 1024;

/// Converts values to and from JSON.
pub(crate) struct Codec<T> {
    encode: fn(&T) -> serde_json::Result<Vec<u8>>,
    decode: fn(&[u8]) -> serde_json::Result<T>,
}

impl<T: Serialize + DeserializeOwned> Codec<T> {
    pub(crate) fn new() -> Self {
        Self {
            encode: serde_json::to_vec,
            decode: |json| serde_json::from_slice(json),
        }
    }
}

/// The back end of a topic stored by an engine.
pub(crate) struct Follower<T> {
    node: Arc<Inner>,
    name: Arc<str>,
    ring: Arc<Ring<T>>,
    codec: Codec<T>,
    keep: Keep,
    state: Mutex<State>,
    is_open: watch::Sender<bool>,
    is_watched: AtomicBool,
    /// The values of the events that are being published, so that these values need not be decoded
    /// from the log.
    publishing: Mutex<HashMap<Key, T>>,
    this: Weak<Self>,
}

struct State {
    /// The place of the newest record applied to the ring, or `None` until the first page of the
    /// log has been read.
    newest: Option<Tail>,
    /// The place of the record that ended the topic, if any.
    end: Option<Place>,
    /// How this process is ending the topic, with the details that the log does not contain.
    failing: Option<(End, Arc<Failure>)>,
    /// The records received since the last read began, or `None` if the state is `Live`.
    repairing: Option<Buffer>,
    /// Whether the feed may have skipped a record since the last read began.
    is_suspect: bool,
    /// The number of times that a reader has asked for a repair.
    asked: u64,
    /// The engine's tail at the last check. By the next check, the feed should have delivered all
    /// records up to it.
    expected: Option<Tail>,
}

#[derive(Default)]
struct Buffer {
    records: VecDeque<Received>,
    bytes: usize,
}

struct Received {
    epoch: Epoch,
    previous: Place,
    stored: Stored,
    source: Source,
}

/// The source of a record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Feed,
    /// The engine's confirmation of an event published by this process. If the event does not
    /// follow the ring's newest record, other records precede it, and the feed delivers all of
    /// them.
    Confirmation,
}

/// The relation of a record to the ring.
enum Relation {
    /// The record follows the ring's newest record.
    Next,
    /// The ring contains the record or used to contain it.
    Known,
    /// The ring lacks a record before this one, or contains a different one.
    Unclear,
}

/// The next step of a repair that has read a page.
enum Step {
    Done,
    ReadOn,
    /// The ring contains records that the log does not.
    FindFork,
}

impl<T: Send + Sync + 'static> Follower<T> {
    /// Starts to open a topic. If the topic is already open in this process, returns the existing
    /// follower.
    pub(crate) fn start(
        node: &Node,
        name: &str,
        ring: Ring<T>,
        codec: Codec<T>,
        keep: Keep,
    ) -> Result<Arc<Self>, OpenError> {
        if !is_valid_name(name) {
            return Err(OpenError::InvalidName);
        }
        let inner = node.inner();
        let name: Arc<str> = name.into();
        let follower = inner.follower_or(&name, || {
            let follower = Arc::new_cyclic(|this| Self {
                node: Arc::clone(inner),
                name: Arc::clone(&name),
                ring: Arc::new(ring),
                codec,
                keep,
                state: Mutex::new(State {
                    newest: None,
                    end: None,
                    failing: None,
                    repairing: Some(Buffer::default()),
                    is_suspect: false,
                    asked: 0,
                    expected: None,
                }),
                is_open: watch::Sender::new(false),
                is_watched: AtomicBool::new(false),
                publishing: Mutex::default(),
                this: Weak::clone(this),
            });
            follower.start_repair();
            follower
        });
        let open = follower.value_type();
        let follower = follower.into_any().downcast::<Self>();
        follower.map_err(|_| OpenError::OtherType { open })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_repair(&self) {
        self.node.repair(Box::pin(repair(Weak::clone(&self.this))));
    }

    /// Starts a repair on behalf of a reader. Returns the repair's number. The ring's `checked`
    /// number reaches this number once the repair has been completed.
    fn ask(&self) -> u64 {
        let mut state = self.state();
        state.asked += 1;
        let ticket = state.asked;
        self.suspect_with(&mut state);
        ticket
    }

    fn suspect_with(&self, state: &mut State) {
        state.is_suspect = true;
        if state.repairing.is_none() {
            state.repairing = Some(Buffer::default());
            self.start_repair();
        }
    }

    /// Reads the log until the ring has caught up with the log's newest record.
    async fn read_to_end(&self) -> Result<(), Unreachable> {
        let engine = &self.node.engine;
        if !self.is_watched.load(Ordering::Acquire) {
            in_time(engine.watch(&self.name)).await?;
            self.is_watched.store(true, Ordering::Release);
        }
        loop {
            let (after, asked) = {
                let mut state = self.state();
                state.is_suspect = false;
                // Discard the records received so far. The engine stores a record before the feed
                // delivers it, so if the read does not find one of these records, the engine has
                // lost it.
                state.repairing = Some(Buffer::default());
                (
                    state.newest.map_or(0, |tail| tail.newest.number),
                    state.asked,
                )
            };
            let page = in_time(engine.read(&self.name, after, PAGE)).await?;
            match self.apply_page(after, page, asked) {
                Step::Done => return Ok(()),
                Step::ReadOn => {}
                Step::FindFork => self.find_fork().await?,
            }
        }
    }

    fn apply_page(&self, after: u64, page: Page, asked: u64) -> Step {
        let mut state = self.state();
        let state = &mut *state;
        let Page {
            tail,
            before,
            records,
        } = page;
        let newest = match &mut state.newest {
            Some(newest) if newest.epoch == tail.epoch => newest,
            newest => {
                self.ring.rebase(tail.epoch);
                state.end = None;
                let newest = newest.insert(Tail {
                    epoch: tail.epoch,
                    newest: Place::START,
                });
                if after > 0 {
                    return Step::ReadOn;
                }
                newest
            }
        };
        let place = &mut newest.newest;
        let differs = before.number == place.number && marks_differ(before, *place);
        // Nothing follows the end of a topic, so if the log goes on, the engine has lost the end.
        let is_past_end = state.end.is_some() && tail.newest.number > place.number;
        let is_behind = tail.newest.number < place.number || before.number < place.number;
        if is_behind || differs || is_past_end {
            return Step::FindFork;
        }
        if before.number > place.number {
            // The log no longer contains the records between these two places.
            self.ring.skip_to(before);
            *place = before;
        }
        for stored in records {
            self.apply(state, stored);
        }
        let place = state.newest.map_or(Place::START, |tail| tail.newest);
        if place.number < tail.newest.number || marks_differ(place, tail.newest) {
            return Step::ReadOn;
        }
        let buffered = mem::take(&mut state.repairing).unwrap_or_default();
        for received in buffered.records {
            match self.relation(state, &received) {
                Relation::Next => self.apply(state, received.stored),
                Relation::Unclear if received.source == Source::Feed => state.is_suspect = true,
                Relation::Known | Relation::Unclear => {}
            }
        }
        // The ring contains every record that the engine had when the read began. Do not wait until the
        // state is `Live`: on a busy topic, the feed may overtake every read.
        self.ring.set_checked(asked);
        self.is_open.send_replace(true);
        if state.is_suspect {
            state.repairing = Some(Buffer::default());
            return Step::ReadOn;
        }
        Step::Done
    }

    /// Finds the newest record that the ring and the log have in common, and removes all later
    /// records from the ring.
    async fn find_fork(&self) -> Result<(), Unreachable> {
        let engine = &self.node.engine;
        let mut common = self.ring.before_oldest();
        let mut is_first = true;
        loop {
            let page = in_time(engine.read(&self.name, common.number, PAGE)).await?;
            let mut state = self.state();
            let state = &mut *state;
            let Some(newest) = state.newest.as_mut() else {
                return Ok(());
            };
            if newest.epoch != page.tail.epoch {
                return Ok(());
            }
            let oldest = self.ring.before_oldest();
            if oldest.number > common.number {
                // Events became too old while the page was read. They no longer tell whether the
                // log contains them.
                common = oldest;
                is_first = true;
                continue;
            }
            let known = |place: Place| match state.end {
                Some(end) if end.number == place.number => end.mark,
                _ => self.ring.mark_at(place.number),
            };
            if is_first
                && (page.before.number != common.number || marks_differ(page.before, common))
            {
                let is_known = page.before.mark.is_some() && known(page.before) == page.before.mark;
                if !is_known {
                    // The log contains none of the ring's records.
                    self.ring.cut(None);
                    self.ring.skip_to(page.before);
                    newest.newest = page.before;
                    state.end = None;
                    return Ok(());
                }
                common = page.before;
            }
            is_first = false;
            let records = page.records.iter().map(Stored::place);
            let matching = records
                .take_while(|place| known(*place) == place.mark)
                .last();
            let is_whole = matching == page.records.last().map(Stored::place);
            common = matching.unwrap_or(common);
            if is_whole && common.number < page.tail.newest.number && !page.records.is_empty() {
                continue;
            }
            newest.newest = common;
            match state.end {
                // The log still contains everything. It lacked the end only for a while.
                Some(end) if end == common && page.tail.newest == end => return Ok(()),
                _ => state.end = None,
            }
            if common == oldest && common != Place::START && self.ring.newest() != oldest {
                // All of the ring's events are lost, but the log may contain older events that were
                // evicted from the ring. Read them again, so that new readers receive the newest
                // events.
                self.ring.cut(None);
                self.ring.skip_to(Place::START);
                newest.newest = Place::START;
                return Ok(());
            }
            let kept = self.ring.cut(Some(common.number));
            if kept.number > common.number {
                newest.newest = kept;
            }
            return Ok(());
        }
    }

    fn relation(&self, state: &State, received: &Received) -> Relation {
        let Some(Tail { epoch, newest }) = state.newest else {
            return Relation::Unclear;
        };
        let place = received.stored.place();
        if received.epoch != epoch {
            Relation::Unclear
        } else if place.number <= newest.number {
            let known = match state.end {
                Some(end) if end.number == place.number => end.mark,
                _ => self.ring.mark_at(place.number),
            };
            match known {
                Some(mark) if Some(mark) != place.mark => Relation::Unclear,
                _ => Relation::Known,
            }
        } else if received.previous == newest {
            Relation::Next
        } else {
            Relation::Unclear
        }
    }

    /// Applies a record from the feed or a confirmation. During a repair, buffers the record
    /// instead.
    fn take(&self, received: Received) {
        let mut state = self.state();
        if let Some(buffer) = &mut state.repairing {
            buffer.bytes += received.stored.record.body.len();
            buffer.records.push_back(received);
            if buffer.records.len() > BUFFERED || buffer.bytes > BUFFERED_BYTES {
                *buffer = Buffer::default();
                state.is_suspect = true;
            }
            return;
        }
        match self.relation(&state, &received) {
            Relation::Next => self.apply(&mut state, received.stored),
            Relation::Unclear if received.source == Source::Feed => self.suspect_with(&mut state),
            Relation::Known | Relation::Unclear => {}
        }
    }

    /// Applies a record to the ring, and updates the newest place.
    fn apply(&self, state: &mut State, stored: Stored) {
        let place = stored.place();
        let Some(tail) = &mut state.newest else {
            return;
        };
        tail.newest = place;
        let position = Position::with_mark(tail.epoch, place.number, place.mark);
        let Stored { record, age, .. } = stored;
        if record.kind == Kind::End {
            state.end = Some(place);
            let end = End::decode(&record.body);
            let own = state.failing.take_if(|(failing, _)| *failing == end);
            self.ring.end(match (own, end) {
                (Some((_, failure)), _) => Some(failure),
                (None, End::Finished) => None,
                (None, End::Stopped) => Some(Arc::new(Failure::stopped())),
                (None, End::Failed) => Some(Arc::new(Failure::hidden())),
                (None, End::Lost) => Some(Arc::new(Failure::lost())),
            });
            return;
        }
        let at = Instant::now();
        let at = at.checked_sub(age).unwrap_or(at);
        let entry = Arc::new(self.entry(position, record));
        let insert = || self.ring.insert(Arc::clone(&entry), at);
        // If the event were missing although the log contains it, its readers would not be told.
        if catch_unwind(AssertUnwindSafe(insert)).is_err()
            && self.ring.newest().number < place.number
        {
            self.warn_unreadable(position, "the topic's key function panicked");
            self.ring.insert(Arc::new(entry.without_value()), at);
        }
    }

    fn entry(&self, position: Position, record: Record) -> Entry<T> {
        let own = self.publishing().remove(&record.key);
        let Some(body) = Body::decode(record.body) else {
            self.warn_unreadable(position, "its format is newer");
            return Entry::unreadable(position);
        };
        let value = own.or_else(|| {
            let json = body.json().unwrap_or_default();
            let decode = || (self.codec.decode)(json);
            // A panic must neither stop the repair nor the engine's thread.
            let error = match catch_unwind(AssertUnwindSafe(decode)) {
                Ok(Ok(value)) => return Some(value),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "its `Deserialize` implementation panicked".to_owned(),
            };
            self.warn_unreadable(position, &error);
            None
        });
        Entry::stored(position, value, &body.frame)
    }

    fn warn_unreadable(&self, position: Position, error: &str) {
        let topic = &*self.name;
        tracing::warn!(topic, %position, error, "failed to decode an event; readers receive a gap instead");
    }

    fn publishing(&self) -> MutexGuard<'_, HashMap<Key, T>> {
        self.publishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn append_end(&self, end: End) -> Result<(), PublishError> {
        let record = Record {
            key: Key::random(),
            kind: Kind::End,
            body: end.encode(),
        };
        match self.append(record).await {
            Ok(_) | Err(PublishError::Finished) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn append(&self, record: Record) -> Result<EventId, PublishError> {
        let key = record.key;
        let appending = self
            .node
            .engine
            .append(&self.name, record.clone(), self.keep);
        let appended = appending.await.map_err(|error| match error {
            AppendError::Unavailable(source) => PublishError::Unavailable { source },
            AppendError::Unknown(source) => PublishError::Unknown { key, source },
            AppendError::Fenced => PublishError::Fenced,
            AppendError::Ended => PublishError::Finished,
            AppendError::TooLarge { len, max } => PublishError::TooLarge { len, max },
        })?;
        let mark = Some(record.mark());
        let stored = Stored {
            number: appended.number,
            record,
            age: Duration::ZERO,
        };
        // The feed may already have delivered the record.
        if appended.is_new {
            self.take(Received {
                epoch: appended.epoch,
                previous: appended.previous,
                stored,
                source: Source::Confirmation,
            });
        }
        let position = Position::with_mark(appended.epoch, appended.number, mark);
        Ok(EventId::position(position))
    }
}

/// Repairs a topic's ring. If the engine cannot be reached, tries again after a delay.
async fn repair<T: Send + Sync + 'static>(follower: Weak<Follower<T>>) {
    let (mut delay, longest) = RETRY;
    loop {
        let Some(follower) = follower.upgrade() else {
            return;
        };
        let Err(error) = follower.read_to_end().await else {
            return;
        };
        tracing::debug!(topic = &*follower.name, %error, "failed to read a topic; trying again");
        drop(follower);
        sleep(delay.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        delay = longest.min(delay * 2);
    }
}

async fn in_time<R>(
    reading: impl Future<Output = Result<R, Unreachable>>,
) -> Result<R, Unreachable> {
    let read = timeout(READ_TIMEOUT, reading).await;
    read.unwrap_or_else(|elapsed| Err(Unreachable(elapsed.into())))
}

/// Returns whether the marks of both places are known and differ.
fn marks_differ(one: Place, other: Place) -> bool {
    one.mark
        .zip(other.mark)
        .is_some_and(|(one, other)| one != other)
}

pub(crate) fn is_valid_name(name: &str) -> bool {
    /// The maximum length of a name, in bytes.
    const LONGEST: usize = 1024;
    name.len() <= LONGEST && !name.contains(['\0', '\r', '\n'])
}

impl<T: Send + Sync + 'static> Follow for Follower<T> {
    fn receive(&self, epoch: Epoch, previous: Place, stored: Stored) {
        self.take(Received {
            epoch,
            previous,
            stored,
            source: Source::Feed,
        });
    }

    fn suspect(&self) {
        self.suspect_with(&mut self.state());
    }

    fn check(&self, before: Option<Tail>, tail: Tail, is_feed_intact: bool) {
        let mut state = self.state();
        let Some(newest) = state.newest else { return };
        let has_lost =
            |known: Tail| known.epoch == tail.epoch && known.newest.number > tail.newest.number;
        let is_other = newest.epoch != tail.epoch
            || before.is_some_and(has_lost)
            || newest.newest.number == tail.newest.number
                && marks_differ(newest.newest, tail.newest);
        let is_behind = |expected: Tail| newest.newest.number < expected.newest.number;
        let has_skipped = match is_feed_intact {
            true => state.expected.is_some_and(is_behind),
            // A read in progress may have taken its snapshot of the log before the connection was
            // restored.
            false => newest != tail || state.repairing.is_some(),
        };
        state.expected = Some(tail);
        if is_other || has_skipped {
            state.expected = None;
            self.suspect_with(&mut state);
        }
    }

    fn tail(&self) -> Option<Tail> {
        self.state().newest
    }

    fn value_type(&self) -> &'static str {
        type_name::<T>()
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// Removes the value of an event from `publishing` when dropped.
struct InFlight<'a, T: Send + Sync + 'static> {
    follower: &'a Follower<T>,
    key: Key,
}

impl<T: Send + Sync + 'static> Drop for InFlight<'_, T> {
    fn drop(&mut self) {
        // Drop the value only after releasing the lock.
        let value = self.follower.publishing().remove(&self.key);
        drop(value);
    }
}

impl<T: Send + Sync + 'static> Backend<T> for Follower<T> {
    fn publish(&self, event: Encoded<T>) -> Publishing<'_> {
        Box::pin(async move {
            let Encoded { value, frame, key } = event;
            // With a key, the event may have been stored before the end. The engine knows.
            if key.is_none() && self.ring.is_finished() {
                return Err(PublishError::Finished);
            }
            let json = (self.codec.encode)(&value).map_err(EncodeError)?;
            let record = Record {
                key: key.unwrap_or_else(Key::random),
                kind: Kind::Event,
                body: Body::encode(&frame, &json),
            };
            let key = record.key;
            let replaced = self.publishing().insert(key, value);
            drop(replaced);
            let _in_flight = InFlight {
                follower: self,
                key,
            };
            self.append(record).await
        })
    }

    fn opened(&self) -> BoxFuture<'_, Result<(), OpenError>> {
        Box::pin(async {
            let mut is_open = self.is_open.subscribe();
            let opening = is_open.wait_for(|is_open| *is_open);
            match timeout(OPEN_TIMEOUT, opening).await {
                Ok(_) => Ok(()),
                Err(_) => Err(OpenError::TimedOut {
                    seconds: OPEN_TIMEOUT.as_secs(),
                }),
            }
        })
    }

    fn is_open(&self) -> bool {
        *self.is_open.borrow()
    }

    fn try_publish(&self, event: Encoded<T>) -> Result<Result<EventId, PublishError>, Encoded<T>> {
        Err(event)
    }

    fn subscribe(self: Arc<Self>, from: StartAt) -> Box<dyn Reader<T>> {
        let source = Arc::clone(&self);
        self.ring
            .subscribe_with(&from, Some((source, &|| self.ask())))
    }

    fn subscribers(&self) -> usize {
        self.ring.subscribers()
    }

    fn unread_since(&self) -> Option<Instant> {
        self.ring.unread_since()
    }

    fn held_bytes(&self) -> usize {
        self.ring.held_bytes()
    }

    fn count_in(&self, sum: &Arc<AtomicUsize>) {
        self.ring.count_in(sum);
    }

    fn finish(&self) -> Finishing<'_> {
        Box::pin(async {
            if self.ring.is_finished() {
                return Ok(());
            }
            self.append_end(End::Finished).await
        })
    }

    fn fail(&self, failure: Arc<Failure>) -> Finishing<'_> {
        let end = match &*failure {
            failure if failure.is_stop => End::Stopped,
            failure if failure.reason == CloseReason::ProducerLost => End::Lost,
            _ => End::Failed,
        };
        Box::pin(async move {
            if self.ring.is_finished() {
                return Ok(());
            }
            // The readers receive the end when the engine has ordered it. Events that are still
            // being published may come first.
            self.state().failing = Some((end, failure));
            self.append_end(end).await
        })
    }

    fn is_new(&self) -> bool {
        let newest = self.state().newest;
        newest.is_none_or(|tail| tail.newest == Place::START)
    }

    fn is_finished(&self) -> bool {
        self.ring.is_finished()
    }
}

impl<T> Drop for Follower<T> {
    fn drop(&mut self) {
        self.node.remove(&self.name);
    }
}

impl<T> fmt::Debug for Follower<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("name", &self.name)
            .field("ring", &self.ring)
            .finish_non_exhaustive()
    }
}
