//! [`Hub`]: named topics that are created on first use, and runs that outlive their clients.

pub(super) mod builder;
pub(super) mod error;
mod run;
mod state;
mod unused;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::Ordering},
};

use super::{
    Cursor, Subscription, Topic,
    lease::{Freed, InUse, Usage},
    merged,
    run_result::RunResult,
};
use builder::{HubBuilder, Limits};
use error::HubError;
use run::{Again, Run};
use state::{Slot, State};

/// A collection of named topics. A topic is created when it is first requested. It is dropped,
/// together with its events, after it has been unused for the [`idle`](HubBuilder::idle) time,
/// which is 5 minutes by default.
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
/// A topic that has a handle or a subscription is in use, and is not dropped. A dropped topic
/// starts over when it is next requested, and a client that reconnects with an id from the old
/// topic receives a gap. A hub is therefore not persistent storage. If a topic has to keep its
/// events, or has to stay [finished](Topic::finish), keep a clone of the topic, or set
/// `idle(Duration::MAX)` so that idle topics are never dropped.
///
/// Memory is bounded. When there are [too many](HubBuilder::max_topics) topics, or they [hold too
/// much data](HubBuilder::max_bytes), unused topics are dropped, starting with finished ones. If
/// all topics are in use, a new name results in a [`HubError`], which becomes a `429`. A name
/// longer than 1,024 bytes results in a `400`.
///
/// Clones refer to the same hub.
pub struct Hub<T>(Arc<Inner<T>>);

/// The function that creates a topic when its name is first used.
type Make<T> = Box<dyn Fn() -> Topic<T> + Send + Sync>;

struct Inner<T> {
    make: Make<T>,
    limits: Limits,
    /// Created on first use, usually with the first topic.
    freed: OnceLock<Arc<Freed>>,
    state: Mutex<State<T>>,
}

/// The maximum length of a name in bytes. A request path may be 64 KiB long, and a hub holds the
/// names of up to `max_topics` topics.
const MAX_NAME_LEN: usize = 1024;

impl<T: Send + Sync + 'static> Hub<T> {
    /// Creates a hub with the default limits. `make` creates a topic when its name is first used.
    /// It runs under the hub's lock and must not use the hub.
    pub fn new(make: impl Fn() -> Topic<T> + Send + Sync + 'static) -> Self {
        Self::builder(make).build()
    }

    /// Creates a hub with custom limits. See [`new`](Self::new) for `make`.
    pub fn builder(make: impl Fn() -> Topic<T> + Send + Sync + 'static) -> HubBuilder<T> {
        HubBuilder {
            make: Box::new(make),
            limits: Limits::default(),
        }
    }

    /// Returns the topic with this name, and creates it if it does not exist.
    ///
    /// # Errors
    ///
    /// Returns an error if the topic does not exist and there is no room for it
    /// ([`HubError::Full`]), or if the name is too long ([`HubError::NameTooLong`]).
    pub fn topic(&self, name: &str) -> Result<Topic<T>, HubError> {
        let mut state = self.state_with_room(&[name])?;
        Ok(self.lease(&mut state, name))
    }

    /// Returns the topic with this name, if there is one. This counts as use.
    pub fn get(&self, name: &str) -> Option<Topic<T>> {
        let mut state = self.0.state();
        state
            .topics
            .contains_key(name)
            .then(|| self.lease(&mut state, name))
    }

    /// Returns the names of all topics, in no particular order. This does not count as use.
    pub fn names(&self) -> Vec<String> {
        self.0.state().topics.keys().cloned().collect()
    }

    /// Returns the number of topics.
    pub fn len(&self) -> usize {
        self.0.state().topics.len()
    }

    /// Returns how many bytes all topics together hold, counted as for
    /// [`max_bytes`](HubBuilder::max_bytes).
    pub fn held_bytes(&self) -> usize {
        self.0.freed().bytes.load(Ordering::Relaxed)
    }

    /// Returns whether the hub has no topics.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Subscribes to several topics at once. The id of each event contains the position in all of
    /// them, so a client that reconnects receives the events that it missed from each topic. Topics
    /// that do not exist are created. Events from one topic arrive in order, but the order across
    /// topics is unspecified. The subscription ends when all topics are finished. If one of them is
    /// a [run](Self::spawn) that has failed, the subscription ends as failed once everything
    /// published by that run has been read.
    ///
    /// A client may reconnect with different names. A topic that is missing from its id starts as
    /// it would for a client without an id: with `last.or(Start::Latest(50))`, it begins with up to
    /// 50 events. A name that was dropped and later added again is also treated as new, and events
    /// missed in the meantime are not reported as a gap. Held events are replayed topic by topic.
    /// If their overall order matters, sort them by your own timestamps.
    ///
    /// # Errors
    ///
    /// Returns an error if the hub is full ([`HubError::Full`]), if a name is too long
    /// ([`HubError::NameTooLong`]), or if the id could exceed the 4,000 bytes that fit in a header
    /// ([`HubError::TooManyNames`]). About 100 short names reach that limit.
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
        // Either all topics are created or none. A call that returns an error does not create a
        // topic.
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
            subscription.send_position();
        }
        Ok(subscription)
    }

    /// Starts a run that publishes to the topic with this name, unless there already is one, and
    /// reads the topic from `cursor`.
    ///
    /// The run is detached from any client. For example, a language model that is writing an answer
    /// continues when the user reloads the page, and any tab that requests the name reads the
    /// answer. Nothing else in this crate outlives its client. When the run ends, the topic is
    /// [finished](Topic::finish) and kept for the hub's [`idle`](crate::topic::HubBuilder::idle)
    /// time, during which it can be replayed. After that, the name is free for another run.
    ///
    /// Pass the request's [`LastEventId`](crate::LastEventId) as the cursor. A client without an id
    /// reads from the oldest event that the topic holds, unless
    /// [`last.or(…)`](crate::LastEventId::or) specifies another start, so give the topic enough
    /// capacity for a whole run. **A client that has an id never starts a run**. It resumes the run
    /// that it was reading. If there is no run with this name, it receives a
    /// [`Gap`](crate::topic::Gap), and then an end that stops it from reconnecting. If there is a
    /// run, but the id is invalid or from another run, the client receives a gap and reads the
    /// current run from the oldest event that is held. An [`EventId`](crate::EventId) that the
    /// client has sent in another way, such as in the body, can also be a cursor. To start a run
    /// without reading it, pass [`Start::First`](crate::Start::First) and drop the subscription.
    ///
    /// The run is started only once, even if many clients request it at the same time. A name whose
    /// run has ended is replayed, and does not run again until its topic is dropped, unless you use
    /// [`spawn_again`](Self::spawn_again).
    ///
    /// If the run returns an error or panics, the failure is logged, and every reader's stream ends
    /// with the endpoint's `error_event`, after the published events. The data of that event is the
    /// error as JSON if the error is [`Serialize`](serde::Serialize), and a problem without details
    /// otherwise. With `events = "own"`, the default for all methods except `GET`, an error that is
    /// `Serialize` is also sent, but without the id that stops a client. In all other cases, the
    /// response is aborted. Values that a handler yields after the failed run are not sent, so a
    /// marker such as `[DONE]` cannot make a partial answer look complete. An error that the
    /// handler returns is sent instead of the run's error. The stream closes with the reason
    /// [`Failed`](crate::CloseReason::Failed) or [`Panicked`](crate::CloseReason::Panicked), and
    /// never sends `done`. A client that reconnects with the id of the error event is stopped.
    ///
    /// Do not start a run on a topic that other code also publishes to, such as a chat room,
    /// because the end of the run finishes the topic. Use a separate hub instead.
    ///
    /// The producer returns `()` or a `Result<(), E>`, or it never returns.
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

    /// Starts a run like [`spawn`](Self::spawn), but starts another run if the run with this name
    /// has ended and the client has no id. For example, the second message of a conversation gets a
    /// new answer instead of a replay of the first answer. If the run has not ended, the client
    /// joins it, and `producer` is not called.
    ///
    /// Clients that are still reading the old run can read it to its end. A client that reconnects
    /// with an id from the old run receives a [`Gap`](crate::topic::Gap) and reads the new run.
    ///
    /// # Errors
    ///
    /// Returns an error under the same conditions as [`spawn`](Self::spawn).
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

    /// Stops the run with this name at its next `.await`, and returns whether a run was in
    /// progress.
    ///
    /// Readers receive the events that the run has published. Then a `GET` stream ends with `done`,
    /// which stops its client. With `on_cut = "abort"`, the default for all other methods, the
    /// response is aborted instead, with the reason [`Failed`](crate::CloseReason::Failed), so that
    /// a partial answer does not look complete. Values that the handler yields after that are not
    /// sent. [`Subscription::has_failed`] stays `false`.
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

    /// Locks the state, and makes room for these topics.
    fn state_with_room(&self, names: &[&str]) -> Result<MutexGuard<'_, State<T>>, HubError> {
        if names.iter().any(|name| name.len() > MAX_NAME_LEN) {
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

    /// Returns a handle to the topic with this name, and creates the topic if it does not exist.
    /// The caller has to make room for it first. The topic is in use until the handle, its clones
    /// and its subscriptions are dropped.
    fn lease(&self, state: &mut State<T>, name: &str) -> Topic<T> {
        let slot = self.slot(state, name);
        Topic {
            backend: Arc::new(InUse::new(&slot.topic.backend, slot.usage.lease())),
            ..slot.topic.clone()
        }
    }

    /// Returns the slot with this name, and creates its topic if it does not exist.
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

impl<T: Send + Sync + 'static> Inner<T> {
    fn freed(&self) -> &Arc<Freed> {
        self.freed
            .get_or_init(|| Arc::new(Freed::new(self.limits.max_bytes)))
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // A user's `make` may panic while the lock is held, but only before the state is changed,
        // so the state of a poisoned lock is valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
