//! [`Hub`]: topics by name, made on first use, and runs that go on without their client.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    future::{Future, pending},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use tokio::{
    runtime::Handle,
    task::AbortHandle,
    time::{Instant, sleep},
};

use super::{
    Cursor, Subscription, Topic,
    backend::Backend as _,
    hub_builder::{HubBuilder, Limits},
    lease::{Freed, InUse, Usage},
    merged,
    ring::Ring,
    run_result::{RunError, RunResult},
};
use crate::generator::run_failure::Failure;

/// Topics by name: each is made when it is first asked for, and dropped, with the events that it holds, when nobody has used
/// it for a while: after 5 minutes, unless [`idle`](HubBuilder::idle) says otherwise.
///
/// ```
/// use std::time::Duration;
/// use axum::extract::{Path, State};
/// use sse_runtime::{Hub, LastEventId, Start, Stream, Topic, sse_endpoint, topic::HubError};
///
/// type Message = String;
///
/// #[sse_endpoint("/rooms/{room}")]
/// async fn room(
///     Path(room): Path<String>,
///     State(rooms): State<Hub<Message>>,
///     last: LastEventId,
/// ) -> Result<impl Stream<Item = Message>, HubError> {
///     let room = rooms.topic(&room)?;
///     yield_all!(room.subscribe(last.or(Start::Latest(50))));
/// }
///
/// let rooms = Hub::builder(|| Topic::<Message>::in_memory(100))
///     .idle(Duration::from_secs(600))
///     .max_topics(10_000)
///     .build();
/// ```
///
/// A topic that has a handle or a subscription is in use, and is not dropped. A dropped
/// topic starts over when it is next asked for, and a client that reconnects with an id from the old one
/// receives a gap. So a hub is not a store: if a topic's events, or the fact that it is
/// [finished](Topic::finish), must not be forgotten, keep a clone of the topic, or never drop idle topics:
/// `idle(Duration::MAX)`.
///
/// Memory is bounded: when there are [too many](HubBuilder::max_topics) topics, or they [hold too
/// much](HubBuilder::max_bytes), unused ones are dropped, finished ones first. If all are in use, a new
/// name gets a [`HubError`], which is a `429`; a name of more than 1,024 bytes gets a `400`.
///
/// Clones are the same hub.
pub struct Hub<T>(pub(super) Arc<Inner<T>>);

/// Creates the topic of a name.
pub(super) type Make<T> = Box<dyn Fn() -> Topic<T> + Send + Sync>;

pub(super) struct Inner<T> {
    pub(super) make: Make<T>,
    pub(super) limits: Limits,
    /// Made with the first topic, when the hub is set up.
    pub(super) freed: OnceLock<Arc<Freed>>,
    pub(super) state: Mutex<State<T>>,
}

pub(super) struct State<T> {
    topics: HashMap<String, Slot<T>>,
    /// Those that nobody uses, the longest unused first: finished ones, and others.
    finished: Unused,
    unfinished: Unused,
    /// Tells those apart that became unused at one moment.
    next: u64,
    /// A task looks for topics that nobody uses.
    is_swept: bool,
}

/// Names, by when they became unused.
type Unused = BTreeMap<(Instant, u64), String>;

struct Slot<T> {
    topic: Topic<T>,
    usage: Arc<Usage>,
    /// Its place among those that nobody uses.
    unused: Option<(Instant, u64)>,
    run: Run,
}

/// What becomes of a name whose run has ended, if it is asked for without an id.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    Replay,
    Restart,
}

#[derive(Default)]
enum Run {
    #[default]
    None,
    /// Somebody is about to start it.
    Starting,
    /// It was stopped before it has begun.
    Stopped,
    /// Until the topic is dropped: what has run does not run again before.
    Started(AbortHandle),
}

/// How long a name is at most, in bytes: a path holds 64 KiB, and so many topics would hold as many of them.
const LONGEST_NAME: usize = 1024;

impl<T: Send + Sync + 'static> Hub<T> {
    /// Creates a hub with the default limits. `make` creates a topic when its name is first used. It runs under the hub's
    /// lock and must not use the hub.
    pub fn new(make: impl Fn() -> Topic<T> + Send + Sync + 'static) -> Self {
        Self::builder(make).build()
    }

    /// Creates a hub with limits of your own. `make` is as in [`new`](Self::new).
    pub fn builder(make: impl Fn() -> Topic<T> + Send + Sync + 'static) -> HubBuilder<T> {
        HubBuilder {
            make: Box::new(make),
            limits: Limits::default(),
        }
    }

    /// The topic of this name, made anew where there is none.
    ///
    /// # Errors
    ///
    /// [`HubError::Full`], where there is none and no room for one, and [`HubError::NameTooLong`].
    pub fn topic(&self, name: &str) -> Result<Topic<T>, HubError> {
        let mut state = self.state_with_room(&[name])?;
        Ok(self.lease(&mut state, name))
    }

    /// The topic of this name, if there is one. It counts as use.
    pub fn get(&self, name: &str) -> Option<Topic<T>> {
        let mut state = self.0.state();
        state
            .topics
            .contains_key(name)
            .then(|| self.lease(&mut state, name))
    }

    /// The names of the topics that there are, in no order. To look does not count as use.
    pub fn names(&self) -> Vec<String> {
        self.0.state().topics.keys().cloned().collect()
    }

    /// How many topics there are.
    pub fn len(&self) -> usize {
        self.0.state().topics.len()
    }

    /// How many bytes all topics together hold, as [`max_bytes`](HubBuilder::max_bytes) counts them.
    pub fn held_bytes(&self) -> usize {
        self.0.freed().bytes.load(Ordering::Relaxed)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads several topics as one: each event has an id that holds the position in all of them, so that a client that comes
    /// back gets what it missed of each. They are made where there are none. Events of one topic are in order; between topics
    /// there is no order. The subscription ends when all of them are finished. It ends as failed once one of them is a
    /// [run](Self::spawn) that has failed and everything published by that run has been read.
    ///
    /// The names that the client comes back with may be others. A name that its id does not hold is new to it, and starts as for a
    /// client without an id: `last.or(Start::Latest(50))` is 50 events of it. One that it left out in between is such a
    /// name, and what it missed of that is not told. What is held comes topic by topic; sort by a time of your own.
    ///
    /// # Errors
    ///
    /// [`HubError::Full`], [`HubError::NameTooLong`], and [`HubError::TooManyNames`], where the id would be longer than a header
    /// may be: at 4,000 bytes, which are about 100 short names.
    pub fn subscribe<N>(
        &self,
        names: impl IntoIterator<Item = N>,
        cursor: impl Into<Cursor>,
    ) -> Result<Subscription<T>, HubError>
    where
        N: AsRef<str>,
    {
        let names: Vec<N> = names.into_iter().collect();
        let names: BTreeSet<&str> = names.iter().map(AsRef::as_ref).collect();
        let escaped: Vec<String> = names.iter().map(|name| merged::escape(name)).collect();
        if !merged::fits(&escaped) {
            return Err(HubError::TooManyNames);
        }
        let names: Vec<&str> = names.into_iter().collect();
        let Cursor {
            from,
            start,
            is_resumed,
            ..
        } = cursor.into();
        // All of them, or none: who is refused has made no topic.
        let mut state = self.state_with_room(&names)?;
        let topics = names.iter().map(|name| self.lease(&mut state, name));
        let topics: Vec<_> = topics.collect();
        drop(state);
        let lacks_a_name = merged::lacks_a_name(&from, &names);
        let each = merged::split(&from, start, &names);
        let readers = topics
            .into_iter()
            .zip(each)
            .map(|(topic, from)| topic.backend.subscribe(from));
        let merged = Box::new(merged::Merged::new(escaped.into_iter().zip(readers)));
        let subscription = Subscription::new(merged, is_resumed);
        if lacks_a_name {
            subscription.tell_position();
        }
        Ok(subscription)
    }

    /// Starts a run that publishes to the topic of this name, unless there is one already, and reads it
    /// from `cursor` on.
    ///
    /// The run is detached from any client: an answer that a language model is writing goes on when its
    /// reader reloads the page, and any tab that asks for the name reads it. It is the one thing here
    /// that outlives a client. When it ends, the topic is [finished](Topic::finish) and kept for the
    /// hub's [`idle`](HubBuilder::idle) time, in which it can be replayed. After that the name is free for
    /// another run.
    ///
    /// Pass the request's [`LastEventId`](crate::LastEventId) as the cursor. A client without an id reads
    /// from the oldest event that the topic holds, unless [`last.or(…)`](crate::LastEventId::or) says
    /// otherwise, so let the topic hold a whole run. **A client that has an id never starts a run**: it
    /// resumes the one that it has read. If there is no run of this name, it receives a
    /// [`Gap`](crate::topic::Gap) and an end that stops it. If there is a run but the id is not of it, since the
    /// name has run again or the id cannot be read, it receives a gap and reads that run from the oldest
    /// event that is held. A cursor is also an [`EventId`](crate::EventId) that the client has sent
    /// in another way, such as in the body. To start a run without reading it, pass
    /// [`Start::First`](crate::Start::First) and drop the subscription.
    ///
    /// However many clients ask for it at the same time, the run is started only once. A name whose run has ended is replayed, and
    /// not run again before its topic is dropped, unless [`spawn_again`](Self::spawn_again) asks for
    /// it. If the run returns an error or panics, that is logged, and every reader's stream ends with
    /// the endpoint's `error_event` after what was published: the error as JSON if it is
    /// [`Serialize`](serde::Serialize), or a problem without details. Under `events = "own"`, the
    /// default of all methods but `GET`, the error that is `Serialize` is sent too, without the id that
    /// stops a client; in any other case the response breaks off. Nothing that a handler yields after
    /// the failed run is sent, so a marker of its own, such as `[DONE]`, cannot make half an answer look
    /// complete; an error that it returns is sent in place of the run's. A stream that ends so has the
    /// reason [`Failed`](crate::CloseReason::Failed) or [`Panicked`](crate::CloseReason::Panicked), is
    /// never `done`, and stops a client that returns with that event's id. Do not start a run on a topic
    /// that others publish to as well, such as a chat room: the run's end finishes it. Use another hub.
    ///
    /// The producer ends with `()`, with a `Result<(), E>`, or never.
    ///
    /// # Errors
    ///
    /// Returns an error if the hub is full ([`HubError::Full`]) or the name is too long
    /// ([`HubError::NameTooLong`]).
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    ///
    /// ```
    /// use axum::extract::{Path, State};
    /// use sse_runtime::{Hub, LastEventId, Stream, sse_endpoint, topic::{HubError, PublishError}};
    ///
    /// # async fn next_word() -> Option<String> { None }
    /// #[sse_endpoint("/answers/{id}")]
    /// async fn answer(
    ///     Path(id): Path<String>,
    ///     State(answers): State<Hub<String>>,
    ///     last: LastEventId,
    /// ) -> Result<impl Stream<Item = String>, HubError> {
    ///     let answer = answers.spawn(&id, last, |topic| async move {
    ///         while let Some(word) = next_word().await {
    ///             topic.publish(&word).await?;
    ///         }
    ///         Ok::<(), PublishError>(())
    ///     })?;
    ///     yield_all!(answer);
    /// }
    /// ```
    pub fn spawn<F, Fut, Kind>(
        &self,
        name: &str,
        cursor: impl Into<Cursor>,
        producer: F,
    ) -> Result<Subscription<T>, HubError>
    where
        F: FnOnce(Topic<T>) -> Fut,
        Fut: Future<Output: RunResult<Kind>> + Send + 'static,
    {
        self.run(name, cursor.into(), Again::Replay, producer)
    }

    /// Starts a run like [`spawn`](Self::spawn), but a name whose run has ended runs again if the
    /// client has no id: the second message of a conversation is answered, and not the first one's
    /// answer replayed. A run that has not ended is joined, and its producer is not called.
    ///
    /// Clients still reading the old run read it to its end. A client that reconnects with an id from
    /// the old run receives a [`Gap`](crate::topic::Gap) and reads the new one.
    ///
    /// # Errors
    ///
    /// Returns an error like [`spawn`](Self::spawn).
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    pub fn spawn_again<F, Fut, Kind>(
        &self,
        name: &str,
        cursor: impl Into<Cursor>,
        producer: F,
    ) -> Result<Subscription<T>, HubError>
    where
        F: FnOnce(Topic<T>) -> Fut,
        Fut: Future<Output: RunResult<Kind>> + Send + 'static,
    {
        self.run(name, cursor.into(), Again::Restart, producer)
    }

    fn run<F, Fut, Kind>(
        &self,
        name: &str,
        cursor: Cursor,
        again: Again,
        producer: F,
    ) -> Result<Subscription<T>, HubError>
    where
        F: FnOnce(Topic<T>) -> Fut,
        Fut: Future<Output: RunResult<Kind>> + Send + 'static,
    {
        let runtime = Handle::current();
        let cursor = cursor.for_run();
        if cursor.has_id() {
            if name.len() > LONGEST_NAME {
                return Err(HubError::NameTooLong);
            }
            let mut state = self.0.state();
            // Others may hold the name, or read it, though nothing has run.
            let has_run =
                |slot: &Slot<T>| !matches!(slot.run, Run::None) || slot.topic.is_finished();
            let topic = state
                .topics
                .get(name)
                .is_some_and(has_run)
                .then(|| self.lease(&mut state, name));
            drop(state);
            return Ok(match topic {
                Some(topic) => topic.subscribe(cursor),
                None => {
                    let gone = Arc::new(Ring::gone());
                    Subscription::new(gone.subscribe(cursor.from), cursor.is_resumed)
                }
            });
        }
        let mut state = self.state_with_room(&[name])?;
        let mut topic = self.lease(&mut state, name);
        // Dropped after the lock: a value in it may ask for the hub.
        let mut replaced = None;
        if again == Again::Restart && topic.is_finished() {
            let old = state.topics.remove(name);
            let new = self.lease(&mut state, name);
            replaced = Some((old, std::mem::replace(&mut topic, new)));
        }
        let slot = self.slot(&mut state, name);
        // A run that has ended has finished its topic: what is there is to be replayed.
        if !matches!(slot.run, Run::None) || topic.is_finished() {
            drop(state);
            return Ok(topic.subscribe(cursor));
        }
        slot.run = Run::Starting;
        let usage = Arc::clone(&slot.usage);
        // The producer is a user's, and may use the hub.
        drop(state);
        drop(replaced);
        let subscription = topic.subscribe(cursor);
        let end = EndOnDrop {
            topic: topic.clone(),
            name: name.to_owned(),
            is_stopped: true,
        };
        let abandon_after = self.0.limits.abandon_after;
        let run = producer(topic);
        let run = runtime.spawn(async move {
            // Also if the run panics, or is stopped.
            let mut end = end;
            let outcome = tokio::select! {
                outcome = run => outcome.outcome(),
                () = abandoned(&end.topic, abandon_after) => Err(RunError::abandoned()),
            };
            end.is_stopped = false;
            if let Err(RunError { failure, log }) = outcome {
                tracing::error!(name = end.name, error = log, "a run ended with an error");
                end.topic.fail(failure);
            }
        });
        // It is still there, unless the run has ended and the name runs again.
        if let Some(slot) = self.0.state().topics.get_mut(name)
            && Arc::ptr_eq(&slot.usage, &usage)
        {
            if let Run::Stopped = slot.run {
                run.abort();
            }
            slot.run = Run::Started(run.abort_handle());
        }
        Ok(subscription)
    }

    /// Stops the run of this name at its next `.await`, and returns whether there was one that ran.
    ///
    /// Its readers receive what it has published. Then a `GET` ends with `done`, which stops its client. A response that breaks
    /// off when it is cut (`on_cut = "abort"`, the default of all other methods) breaks off, with the reason
    /// [`Failed`](crate::CloseReason::Failed), so that half an answer does not look complete. Nothing that its handler yields
    /// afterwards is sent. [`Subscription::has_failed`] stays `false`.
    pub fn abort(&self, name: &str) -> bool {
        let mut state = self.0.state();
        let Some(slot) = state.topics.get_mut(name) else {
            return false;
        };
        match &slot.run {
            Run::Started(run) if !run.is_finished() => run.abort(),
            Run::Starting => slot.run = Run::Stopped,
            Run::None | Run::Stopped | Run::Started(_) => return false,
        }
        true
    }

    /// The state, with room for these topics.
    fn state_with_room(&self, names: &[&str]) -> Result<MutexGuard<'_, State<T>>, HubError> {
        if names.iter().any(|name| name.len() > LONGEST_NAME) {
            return Err(HubError::NameTooLong);
        }
        let mut state = self.0.state();
        loop {
            let is_new = |name: &&&str| !state.topics.contains_key(**name);
            let new = names.iter().filter(is_new).count();
            if new == 0 {
                return Ok(state);
            }
            let excess = self.0.freed().excess();
            let missing = (state.topics.len() + new).saturating_sub(self.0.limits.max_topics);
            if missing == 0 && excess == 0 {
                return Ok(state);
            }
            let old = self.0.make_room(&mut state, names, missing, excess);
            let Some(old) = old else {
                return Err(HubError::Full);
            };
            drop(state);
            drop(old);
            state = self.0.state();
        }
    }

    /// The topic of this name, made if there is none; there is room for it. It is in use until the
    /// handle is dropped, with its clones and subscriptions.
    fn lease(&self, state: &mut State<T>, name: &str) -> Topic<T> {
        let slot = self.slot(state, name);
        Topic {
            backend: Arc::new(InUse::new(&slot.topic.backend, slot.usage.lease())),
            ..slot.topic.clone()
        }
    }

    /// The topic of this name, made if there is none.
    fn slot<'a>(&self, state: &'a mut State<T>, name: &str) -> &'a mut Slot<T> {
        if !state.topics.contains_key(name) {
            self.0.keep_swept(&Arc::downgrade(&self.0), state);
        }
        let State {
            topics,
            finished,
            unfinished,
            ..
        } = state;
        let slot = topics.entry(name.to_owned()).or_insert_with(|| {
            let topic = (self.0.make)();
            let freed = self.0.freed();
            topic.backend.count_in(&freed.bytes);
            Slot {
                topic,
                usage: Usage::new(name, freed),
                unused: None,
                run: Run::None,
            }
        });
        if let Some(unused) = slot.unused.take() {
            finished.remove(&unused);
            unfinished.remove(&unused);
        }
        slot
    }
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self {
            topics: HashMap::new(),
            finished: Unused::new(),
            unfinished: Unused::new(),
            next: 0,
            is_swept: false,
        }
    }
}

impl<T: Send + Sync + 'static> State<T> {
    /// Takes note of those that nobody uses any more.
    fn note_unused(&mut self, freed: &Freed) {
        for usage in freed.take() {
            let Some(since) = usage.unused_since() else {
                continue;
            };
            let Some(slot) = self.topics.get_mut(&usage.name) else {
                continue;
            };
            if !Arc::ptr_eq(&slot.usage, &usage) {
                continue;
            }
            if let Some(unused) = slot.unused.take() {
                self.finished.remove(&unused);
                self.unfinished.remove(&unused);
            }
            let place = (since, self.next);
            self.next += 1;
            slot.unused = Some(place);
            let unused = match slot.topic.is_finished() {
                true => &mut self.finished,
                false => &mut self.unfinished,
            };
            unused.insert(place, usage.name.clone());
        }
    }

    /// Takes out a topic that was noted, unless somebody uses it again.
    fn take_unused(&mut self, name: &str) -> Option<Slot<T>> {
        let slot = self.topics.get_mut(name)?;
        if let Some(unused) = slot.unused.take() {
            self.finished.remove(&unused);
            self.unfinished.remove(&unused);
        }
        slot.usage.unused_since()?;
        self.topics.remove(name)
    }
}

impl<T: Send + Sync + 'static> Inner<T> {
    fn freed(&self) -> &Arc<Freed> {
        self.freed
            .get_or_init(|| Arc::new(Freed::new(self.limits.max_bytes)))
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // A user's `make` may panic in here, before anything has been changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the topics unused longest, finished ones first, until the given numbers of topics and of
    /// bytes are freed; `None` if there are not enough. The names stay. The removed topics must be dropped
    /// after the lock is released, since the destructor of a value in them may use the hub.
    fn make_room(
        &self,
        state: &mut State<T>,
        but: &[&str],
        topics: usize,
        bytes: usize,
    ) -> Option<Vec<Slot<T>>> {
        if self.limits.idle == Duration::MAX {
            return None;
        }
        state.note_unused(self.freed());
        let mut names = Vec::new();
        let mut freed = 0;
        for name in state.finished.values().chain(state.unfinished.values()) {
            if names.len() >= topics && freed >= bytes {
                break;
            }
            if !but.contains(&name.as_str()) {
                freed += state
                    .topics
                    .get(name)
                    .map_or(0, |slot| slot.topic.held_bytes());
                names.push(name.clone());
            }
        }
        if names.len() < topics || freed < bytes {
            return None;
        }
        let old = names.iter().filter_map(|name| state.take_unused(name));
        Some(old.collect())
    }

    /// Takes out the topics that nobody has used for long enough, and those that are too much, to be
    /// dropped after the lock: a value in them may ask for the hub when it is dropped.
    #[must_use = "it is dropped after the lock"]
    fn sweep(&self, state: &mut State<T>) -> Vec<Slot<T>> {
        let now = Instant::now();
        state.note_unused(self.freed());
        let is_old = |((since, _), _): &(&(Instant, u64), &String)| {
            now.duration_since(*since) >= self.limits.idle
        };
        let finished = state.finished.iter().take_while(is_old);
        let unfinished = state.unfinished.iter().take_while(is_old);
        let names: Vec<_> = finished
            .chain(unfinished)
            .map(|(_, name)| name.clone())
            .collect();
        let mut old: Vec<_> = names
            .iter()
            .filter_map(|name| state.take_unused(name))
            .collect();
        let gone: usize = old.iter().map(|slot| slot.topic.held_bytes()).sum();
        let mut excess = self.freed().excess().saturating_sub(gone);
        while excess > 0 && self.limits.idle < Duration::MAX {
            let next = state
                .finished
                .values()
                .chain(state.unfinished.values())
                .next();
            let Some(name) = next.cloned() else { break };
            if let Some(slot) = state.take_unused(&name) {
                excess = excess.saturating_sub(slot.topic.held_bytes().max(1));
                old.push(slot);
            }
        }
        old
    }

    /// Starts a task that sweeps for as long as there are topics.
    fn keep_swept(&self, weak: &Weak<Self>, state: &mut State<T>) {
        if state.is_swept {
            return;
        }
        // Outside of a runtime it is swept when it is full.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        state.is_swept = true;
        let every = (self.limits.idle / 4).max(Duration::from_millis(10));
        let freed = Arc::clone(self.freed());
        let mut sweeping = Sweeping {
            hub: Weak::clone(weak),
            is_done: false,
        };
        runtime.spawn(async move {
            loop {
                tokio::select! {
                    () = sleep(every) => {}
                    () = freed.is_over.notified() => {}
                }
                let Some(inner) = sweeping.hub.upgrade() else {
                    return;
                };
                let mut state = inner.state();
                let old = inner.sweep(&mut state);
                let is_empty = state.topics.is_empty();
                state.is_swept = !is_empty;
                sweeping.is_done = is_empty;
                drop(state);
                drop(old);
                if is_empty {
                    return;
                }
            }
        });
    }
}

/// The task that sweeps a hub; where it is cut off, the next topic starts another.
struct Sweeping<T: Send + Sync + 'static> {
    hub: Weak<Inner<T>>,
    is_done: bool,
}

impl<T: Send + Sync + 'static> Drop for Sweeping<T> {
    fn drop(&mut self) {
        if !self.is_done
            && let Some(hub) = self.hub.upgrade()
        {
            hub.state().is_swept = false;
        }
    }
}

impl<T> Clone for Hub<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Hub<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("idle", &self.0.limits.idle)
            .field("max_topics", &self.0.limits.max_topics)
            .finish_non_exhaustive()
    }
}

/// Waits until a run has had no reader for the duration `after`.
async fn abandoned<T>(topic: &Topic<T>, after: Option<Duration>) {
    let Some(after) = after else {
        return pending().await;
    };
    loop {
        let left = match topic.backend.unread_since() {
            None => after,
            Some(since) => after.saturating_sub(since.elapsed()),
        };
        if left.is_zero() {
            return;
        }
        sleep(left).await;
    }
}

/// Ends a topic when its run is gone, unless it has failed already.
struct EndOnDrop<T: Send + Sync + 'static> {
    topic: Topic<T>,
    name: String,
    /// Until it has run to its end.
    is_stopped: bool,
}

impl<T: Send + Sync + 'static> Drop for EndOnDrop<T> {
    fn drop(&mut self) {
        if thread::panicking() {
            tracing::error!(name = self.name, "a run panicked");
            self.topic.fail(Failure::panicked());
        } else if self.is_stopped {
            self.topic.fail(Failure::stopped());
        } else {
            self.topic.finish();
        }
    }
}

/// Why a [`Hub`] has no topic to give.
///
/// As a response [`Full`](Self::Full) is `429` with a `Retry-After`, and all else `400`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// There are as many topics as there may be, and all are in use.
    #[error(
        "the hub has as many topics as it may have; raise `max_topics`, or let idle ones go sooner"
    )]
    Full,
    /// The id that holds the positions in all of these topics would be too long.
    #[error(
        "the positions in so many topics are no id that a client could send back; read fewer at once"
    )]
    TooManyNames,
    /// A name has more than 1,024 bytes.
    #[error("the name of a topic has at most 1,024 bytes; name it by a hash of what is longer")]
    NameTooLong,
}

impl IntoResponse for HubError {
    fn into_response(self) -> Response {
        match self {
            Self::Full => {
                warn_once_a_second(self);
                let after = HeaderValue::from(fastrand::u64(5..15));
                let headers = [(header::RETRY_AFTER, after)];
                (StatusCode::TOO_MANY_REQUESTS, headers).into_response()
            }
            Self::TooManyNames | Self::NameTooLong => StatusCode::BAD_REQUEST.into_response(),
        }
    }
}

/// There may be many refused clients, and logging a line for each would add load of its own.
fn warn_once_a_second(error: HubError) {
    static LAST: Mutex<Option<std::time::Instant>> = Mutex::new(None);
    static SINCE: AtomicUsize = AtomicUsize::new(0);
    let refused = SINCE.fetch_add(1, Ordering::Relaxed) + 1;
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.is_some_and(|last| last.elapsed() < Duration::from_secs(1)) {
        return;
    }
    *last = Some(std::time::Instant::now());
    drop(last);
    SINCE.store(0, Ordering::Relaxed);
    tracing::warn!(%error, refused, "topics were refused");
}
