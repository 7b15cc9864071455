//! [`Hub`]: named topics that are created on first use, and runs that outlive their clients.

pub(super) mod builder;
mod by_id;
pub(super) mod error;
pub(super) mod resume_error;
mod run;
mod state;
mod unused;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::Ordering},
};

use super::{
    Cursor, OpenError, Subscription, Topic, TopicBuilder,
    engine::{BoxFuture, RunOwner, is_valid_name},
    lease::{Freed, InUse, Usage},
    merged,
};
use builder::{HubBuilder, Limits, Store};
use error::HubError;
use run::Run;
use state::{Slot, State};

/// A collection of named topics. A topic is created when it is first requested. Once it has been
/// unused for the [`idle`](HubBuilder::idle) time (5 minutes by default), it is dropped along with
/// its events.
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
///     let room = rooms.topic(&room).await?;
///     yield_all!(room.subscribe(last.or(Start::Latest(50))));
/// }
///
/// let rooms = Hub::builder(|| Topic::<Message>::builder().keep(100))
///     .idle(Duration::from_secs(600))
///     .max_topics(10_000)
///     .build();
/// ```
///
/// A topic with a handle or a subscription is in use and is not dropped. If a dropped topic is
/// requested again, a new, empty topic is created, and a client that reconnects with an id from the
/// old topic receives a gap. To preserve a topic's events, or to ensure that the topic stays
/// [finished](Topic::finish), store the topics in an [engine](HubBuilder::engine), hold a clone of
/// the topic, or set `idle(Duration::MAX)` so that unused topics are never dropped.
///
/// Memory is bounded. When there are [too many](HubBuilder::max_topics) topics, or they [hold too
/// much data](HubBuilder::max_bytes), unused topics are dropped, starting with finished ones. If
/// all topics are in use, a request for a new topic returns a [`HubError`], which is converted into
/// a `429` response. A name longer than 1,024 bytes results in a `400` response.
///
/// All clones refer to the same hub.
pub struct Hub<T>(Arc<Inner<T>>);

/// The function that configures a topic when its name is first used.
type Make<T> = Box<dyn Fn() -> TopicBuilder<T> + Send + Sync>;

struct Inner<T> {
    make: Make<T>,
    limits: Limits,
    /// The engine that stores the topics, if any.
    store: Option<Store<T>>,
    /// Whether each topic's ids contain its name.
    has_named_ids: bool,
    /// Initialized on first use, usually when the first topic is created.
    freed: OnceLock<Arc<Freed>>,
    state: Mutex<State<T>>,
}

/// The maximum length of a name in bytes. Names are often taken from request paths, which can be up
/// to 64 KiB long. Without this limit, clients could make a hub store up to `max_topics` names of
/// that length.
const MAX_NAME_LEN: usize = 1024;

impl<T: Send + Sync + 'static> Hub<T> {
    /// Creates a hub with the default limits. When a name is first used, `make` is called to
    /// configure the topic. The hub's lock is held during the call, so `make` must not use the hub.
    ///
    /// ```
    /// use sse_runtime::{Hub, Topic};
    ///
    /// let rooms: Hub<String> = Hub::new(|| Topic::builder().keep(100));
    /// ```
    pub fn new(make: impl Fn() -> TopicBuilder<T> + Send + Sync + 'static) -> Self {
        Self::builder(make).build()
    }

    /// Returns a builder for a hub with custom limits. See [`new`](Self::new) for `make`.
    pub fn builder(make: impl Fn() -> TopicBuilder<T> + Send + Sync + 'static) -> HubBuilder<T> {
        HubBuilder {
            make: Box::new(make),
            limits: Limits::default(),
            store: None,
            has_named_ids: false,
        }
    }

    /// Returns the topic with this name, creating it if it does not exist.
    ///
    /// # Errors
    ///
    /// Returns an error if the topic does not exist and there is no room for it
    /// ([`HubError::Full`]), or if the name is too long ([`HubError::NameTooLong`]). If an engine
    /// stores the topics, an error is also returned if the engine is unavailable
    /// ([`HubError::Unavailable`]) or the name is invalid ([`HubError::InvalidName`]).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the hub may contain the topic as an unused topic. Without an
    /// engine, the future completes when it is first polled.
    pub async fn topic(&self, name: &str) -> Result<Topic<T>, HubError> {
        let topic = {
            let mut state = self.state_with_room(&[name])?;
            self.lease(&mut state, name)?
        };
        opened(&topic, name).await?;
        Ok(topic)
    }

    /// Returns the topic with this name if the hub currently holds it in this process. Returns `None`
    /// for a stored topic that is still being opened. The returned handle keeps the topic in use.
    pub fn get(&self, name: &str) -> Option<Topic<T>> {
        let mut state = self.0.state();
        // A client that subscribed to a topic without an epoch would receive a gap.
        let slot = state.topics.get(name);
        match slot.is_some_and(|slot| slot.topic.backend.is_open()) {
            true => self.lease(&mut state, name).ok(),
            false => None,
        }
    }

    /// Returns the names of all topics, in no particular order. Listing topics does not count as
    /// using them.
    pub fn names(&self) -> Vec<String> {
        self.0.state().topics.keys().cloned().collect()
    }

    /// Returns the number of topics.
    pub fn len(&self) -> usize {
        self.0.state().topics.len()
    }

    /// Returns the total number of bytes held by all topics, counted as described in
    /// [`max_bytes`](HubBuilder::max_bytes).
    pub fn held_bytes(&self) -> usize {
        self.0.freed().bytes.load(Ordering::Relaxed)
    }

    /// Returns whether the hub has no topics.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Creates a single subscription to several topics. Each event's id contains the position in
    /// every topic, so a client that reconnects receives the events that it missed in each topic.
    /// Topics that do not exist are created. Events from one topic arrive in order, but the order
    /// across topics is unspecified. The subscription ends when all topics are finished. If one of
    /// the topics belongs to a [run](Self::spawn) that failed, the subscription fails once it has
    /// read every event that the run published.
    ///
    /// A client may reconnect with a different set of names. If a topic is missing from the
    /// client's id, the client reads that topic from the same position as a client without an id.
    /// For example, with `last.or(Start::Latest(50))`, the client first receives up to 50 held
    /// events. The same applies if the client stops requesting a name and later requests it again.
    /// The events that the client missed in the meantime are then not reported as a gap. Held
    /// events are replayed topic by topic, not in the order of publication. If that order matters,
    /// include timestamps in your events and sort by them.
    ///
    /// # Errors
    ///
    /// Returns an error if the hub is full ([`HubError::Full`]), if a name is too long
    /// ([`HubError::NameTooLong`]), or if the id could exceed the 4,000 bytes that fit in a header
    /// ([`HubError::TooManyNames`]). About 100 short names reach that limit, or about 80 if an
    /// engine stores the topics. With an engine, this method can also return the same errors as
    /// [`topic`](Self::topic).
    ///
    /// # Cancel safety
    ///
    /// See [`topic`](Self::topic).
    // The boxed future does not mention the arguments' types, so the compiler reports an argument of
    // the wrong type only once.
    pub fn subscribe<N>(
        &self,
        names: impl IntoIterator<Item = N>,
        cursor: impl Into<Cursor>,
    ) -> BoxFuture<'_, Result<Subscription<T>, HubError>>
    where
        N: AsRef<str>,
    {
        let names = names.into_iter();
        let names: BTreeSet<String> = names.map(|name| name.as_ref().to_owned()).collect();
        Box::pin(self.subscribe_to(names, cursor.into()))
    }

    async fn subscribe_to(
        &self,
        names: BTreeSet<String>,
        cursor: Cursor,
    ) -> Result<Subscription<T>, HubError> {
        let escaped: Vec<String> = names.iter().map(|name| merged::escape(name)).collect();
        if !merged::fits(&escaped, self.0.store.is_some()) {
            return Err(HubError::TooManyNames);
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let Cursor {
            from,
            start,
            after_gap,
            is_resumed,
            ..
        } = cursor;
        // Make room for all topics before creating any of them, so that a failed call creates none.
        let topics = {
            let mut state = self.state_with_room(&names)?;
            let topics = names.iter().map(|name| self.lease(&mut state, name));
            topics.collect::<Result<Vec<_>, _>>()?
        };
        for (topic, name) in topics.iter().zip(&names) {
            opened(topic, name).await?;
        }
        let lacks_a_name = merged::lacks_a_name(&from, &names);
        let each = merged::split(&from, start, &names);
        let readers = topics
            .into_iter()
            .zip(each)
            .map(|(topic, from)| topic.backend.subscribe(from, after_gap));
        let merged = Box::new(merged::Merged::new(escaped.into_iter().zip(readers)));
        let subscription = Subscription::new(merged, is_resumed);
        if lacks_a_name {
            subscription.send_position();
        }
        Ok(subscription)
    }

    /// Locks the state and makes room for topics with these names.
    fn state_with_room(&self, names: &[&str]) -> Result<MutexGuard<'_, State<T>>, HubError> {
        for name in names {
            check_name(name, self.0.store.as_ref())?;
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

    /// Returns a handle to the topic with this name, creating the topic if it does not exist. The
    /// caller must make room for the topic first. The topic remains in use until the handle, its
    /// clones and its subscriptions are dropped.
    fn lease(&self, state: &mut State<T>, name: &str) -> Result<Topic<T>, HubError> {
        self.lease_for(state, name, None)
    }

    /// Like [`lease`](Self::lease), but returns the handle for the run with this owner.
    fn lease_for(
        &self,
        state: &mut State<T>,
        name: &str,
        owner: Option<RunOwner>,
    ) -> Result<Topic<T>, HubError> {
        let slot = self.slot(state, name)?;
        let lease = slot.usage.lease();
        Ok(Topic {
            backend: Arc::new(InUse::new(
                &slot.topic.backend,
                lease,
                self.0.has_named_ids,
                owner,
            )),
            ..slot.topic.clone()
        })
    }

    /// Returns the slot with this name, creating its topic if it does not exist.
    fn slot<'a>(&self, state: &'a mut State<T>, name: &str) -> Result<&'a mut Slot<T>, HubError> {
        if !state.topics.contains_key(name) {
            let builder = (self.0.make)();
            let topic = match &self.0.store {
                None => builder.build(),
                Some(store) => store
                    .start(builder, name)
                    .map_err(|error| to_hub_error(&error, name))?,
            };
            let freed = self.0.freed();
            topic.backend.count_in(&freed.bytes);
            let slot = Slot {
                topic,
                usage: Usage::new(name, freed),
                unused: None,
                run: Run::None,
                turn: Arc::default(),
            };
            self.0.keep_swept(&Arc::downgrade(&self.0), state);
            self.keep_reporting(state);
            state.topics.insert(name.to_owned(), slot);
        }
        let State {
            topics,
            finished,
            unfinished,
            ..
        } = state;
        let Some(slot) = topics.get_mut(name) else {
            unreachable!("the slot exists or has just been inserted");
        };
        if let Some(unused) = slot.unused.take() {
            finished.remove(&unused);
            unfinished.remove(&unused);
        }
        Ok(slot)
    }
}

fn check_name<T>(name: &str, store: Option<&Store<T>>) -> Result<(), HubError> {
    let prefix = store.map_or(0, Store::prefix_len);
    if name.len() + prefix > MAX_NAME_LEN {
        return Err(HubError::NameTooLong);
    }
    match store.is_some() && !is_valid_name(name) {
        true => Err(HubError::InvalidName),
        false => Ok(()),
    }
}

/// Waits until a topic is open.
async fn opened<T>(topic: &Topic<T>, name: &str) -> Result<(), HubError> {
    let opened = topic.backend.opened().await;
    opened.map_err(|error| to_hub_error(&error, name))
}

fn to_hub_error(error: &OpenError, name: &str) -> HubError {
    match error {
        OpenError::InvalidName => HubError::InvalidName,
        OpenError::OtherType { .. } => {
            tracing::error!(name, %error, "failed to open a hub's topic; use another prefix");
            HubError::OtherType
        }
        OpenError::TimedOut { .. } => {
            tracing::warn!(name, %error, "failed to open a hub's topic");
            HubError::Unavailable
        }
    }
}

impl<T: Send + Sync + 'static> Inner<T> {
    fn freed(&self) -> &Arc<Freed> {
        self.freed
            .get_or_init(|| Arc::new(Freed::new(self.limits.max_bytes)))
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // A user's `make` may panic while the lock is held, which poisons the lock. The state is
        // still valid, because `make` is called before the state is changed.
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
