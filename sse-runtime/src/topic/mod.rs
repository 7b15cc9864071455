//! [`Topic`]: one event for many clients, encoded once, replayed without gaps.

pub(crate) mod backend;
mod batch;
mod hub;
mod hub_builder;
mod lease;
pub(crate) mod merged;
mod presence;
mod publish;
mod ring;
mod run_result;
mod subscription;

use std::{fmt, hash::Hash, sync::Arc, time::Duration};

use bytes::BytesMut;

pub use crate::event::gap::{Gap, GapReason};
use crate::{
    event::{
        event::Event,
        frame::Frame,
        id::EventId,
        last_event_id::{LastEventId, LastEventIdError},
        payload::Payload,
    },
    generator::{run_failure::Failure, yielder::Item},
};
use backend::{Backend, Encoded, StartAt};
pub use hub::{Hub, HubError};
pub use hub_builder::HubBuilder;
pub use presence::{Presence, PresenceEvent, PresenceGuard};
pub use publish::PublishError;
use ring::{
    Ring,
    overflow::{Capacity, NewestByKey, Overflow},
};
pub use run_result::RunResult;
pub use subscription::{Filter, Map, Subscription, Update};

/// Events that many clients get: each is encoded once, when it is published, and all share its bytes.
///
/// ```
/// use axum::{Router, extract::State};
/// use sse_runtime::{LastEventId, SseRouterExt, Stream, Topic, sse_endpoint};
///
/// #[derive(Clone, serde::Serialize)]
/// struct Price { symbol: String, cents: u64 }
///
/// #[sse_endpoint("/prices")]
/// async fn price_updates(
///     State(prices): State<Topic<Price>>,
///     last: LastEventId,
/// ) -> impl Stream<Item = Price> {
///     let mut updates = prices.subscribe(last);
///     while let Some(update) = updates.next().await {
///         yield_!(update);                           // `update` derefs to `Price`
///     }
/// }
///
/// # async fn run() -> Result<(), sse_runtime::topic::PublishError> {
/// let prices: Topic<Price> = Topic::in_memory(1024); // holds the last 1024 events for replay
/// let app: Router = Router::new().sse(price_updates).with_state(prices.clone());
/// prices.publish(&Price { symbol: "ACME".into(), cents: 1250 }).await?;
/// # Ok(()) }
/// ```
///
/// A subscriber is a cursor, and not a queue: a slow one holds what it has read and not dealt with yet, at most 256 events, and
/// 32 KiB of their frames, and holds up nobody. The body of that endpoint may as well be
/// `yield_all!(prices.subscribe(last));`: those who are equally far behind send the same bytes then, without a copy.
///
/// # Resuming
///
/// Each event has an id, which a browser sends back when it reconnects. [`subscribe`](Self::subscribe) takes it: what came
/// behind it and is still held comes first, then what is published from then on, without a gap or a repeat in between. What
/// cannot be given is told by an event `gap`, see [`Gap`](crate::topic::Gap). An id names the life of the topic that it is from, so that a
/// process that was restarted does not take it for one of its own.
///
/// Clones are the same topic.
pub struct Topic<T> {
    backend: Arc<dyn Backend<T>>,
    encode: Encode<T>,
}

type Encode<T> = Arc<Item<T>>;

/// Where a subscription starts, where no id says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// With what is published from now on.
    #[default]
    Now,
    /// With the oldest event that is held.
    First,
    /// With the newest of those that are held, so many of them.
    Latest(usize),
}

/// Where a subscription starts: what [`Topic::subscribe`] takes. It is a [`Start`], an [`EventId`], or the [`LastEventId`]
/// of the request, with [`or`](LastEventId::or) for clients that come for the first time.
#[derive(Clone, Debug)]
pub struct Cursor {
    from: StartAt,
    /// For what the id knows nothing of.
    start: Start,
    /// A client's id says where, or would say so.
    is_resumed: bool,
    /// Nobody has said where a client without an id starts.
    is_default: bool,
}

impl Cursor {
    /// Where the reading of a run starts: a client without an id gets it from its beginning.
    fn for_run(mut self) -> Self {
        if self.is_default {
            self.start = Start::First;
            if let StartAt::Start(start) = &mut self.from {
                *start = Start::First;
            }
        }
        self
    }

    /// Whether the client has sent an id, even one that cannot be read.
    fn has_id(&self) -> bool {
        !matches!(self.from, StartAt::Start(_))
    }
}

impl From<Start> for Cursor {
    fn from(start: Start) -> Self {
        Self {
            from: StartAt::Start(start),
            start,
            is_resumed: false,
            is_default: false,
        }
    }
}

impl From<EventId> for Cursor {
    fn from(id: EventId) -> Self {
        Self {
            from: StartAt::After(id.to_string()),
            start: Start::Now,
            is_resumed: true,
            is_default: true,
        }
    }
}

impl From<LastEventId> for Cursor {
    fn from(last: LastEventId) -> Self {
        Self {
            is_default: true,
            ..last.or(Start::Now)
        }
    }
}

impl LastEventId {
    /// Behind this id, or where a client starts that has none.
    ///
    /// ```
    /// # use sse_runtime::{LastEventId, Start, Stream, Topic, sse_endpoint};
    /// # use axum::extract::State;
    /// #[sse_endpoint("/price")]
    /// async fn price(State(prices): State<Topic<u64>>, last: LastEventId) -> impl Stream<Item = u64> {
    ///     // Whoever comes for the first time gets the newest price at once.
    ///     yield_all!(prices.subscribe(last.or(Start::Latest(1))));
    /// }
    /// ```
    pub fn or(self, start: Start) -> Cursor {
        Cursor {
            from: match self.0 {
                Ok(Some(id)) => StartAt::After(id.to_string()),
                Ok(None) => StartAt::Start(start),
                Err(LastEventIdError::Done { last }) => StartAt::Done(last),
                Err(LastEventIdError::NotParsed { .. } | LastEventIdError::NotUtf8) => {
                    StartAt::Unknown
                }
            },
            start,
            is_resumed: true,
            is_default: false,
        }
    }
}

impl<T: Send + Sync + 'static> Topic<T> {
    /// A topic in this process' memory, which holds the newest `events` for replay, and at most 64 MiB of them.
    pub fn in_memory<Kind>(events: usize) -> Self
    where
        T: Payload<Kind>,
    {
        Self::builder().events(events).build()
    }

    /// A topic in this process' memory, with limits of its own.
    pub fn builder<Kind>() -> TopicBuilder<T>
    where
        T: Payload<Kind>,
    {
        TopicBuilder {
            encode: Arc::new(Item::new()),
            capacity: Capacity {
                events: EVENTS,
                bytes: BYTES,
                age: None,
            },
            overflow: Overflow::Skip,
        }
    }

    /// Publishes an event behind all others, and returns its id. It is serialised here, once.
    ///
    /// # Errors
    ///
    /// Where the value's `Serialize` fails, and where the topic is finished.
    ///
    /// # Cancel safety
    ///
    /// In memory it is ready at once.
    pub async fn publish(&self, value: &T) -> Result<EventId, PublishError>
    where
        T: Clone,
    {
        self.publish_event(Event::json(value.clone())).await
    }

    /// Publishes an event with its name, its `retry` or its comment. The id is the topic's to give.
    ///
    /// # Errors
    ///
    /// Where the value's `Serialize` fails, where the topic is finished, and where the event has an id of its own.
    ///
    /// # Cancel safety
    ///
    /// In memory it is ready at once.
    pub async fn publish_event(&self, event: Event<T>) -> Result<EventId, PublishError> {
        let encoded = self.encode(event)?;
        self.backend.publish(encoded).await
    }

    /// Publishes without waiting, where there is nothing to wait for, as in memory: for what is not `async`, and under a lock
    /// where to look and to publish must be one, as of a bid and the highest one so far.
    ///
    /// # Errors
    ///
    /// As of [`publish`](Self::publish).
    pub fn try_publish(&self, value: &T) -> Result<EventId, PublishError>
    where
        T: Clone,
    {
        let encoded = self.encode(Event::json(value.clone()))?;
        match self.backend.try_publish(encoded) {
            Ok(published) => published,
            Err(_) => Err(PublishError::TakesTime),
        }
    }

    fn encode(&self, event: Event<T>) -> Result<Encoded<T>, PublishError> {
        let (fields, value) = publish::shared(event)?;
        let mut frame = BytesMut::new();
        let mut writing = Frame::new(&mut frame, &fields);
        self.encode.encode(&value, &mut writing)?;
        if writing.finish().is_some() {
            return Err(PublishError::NotForTopics { what: "an id" });
        }
        Ok(Encoded { value, frame })
    }

    /// Reads the topic from `cursor` on: a [`LastEventId`], an [`EventId`], or a [`Start`]. A client without an id gets what is
    /// published from now on, unless [`last.or(Start::…)`](LastEventId::or) says otherwise.
    ///
    /// Everything behind the id that is still held comes first, then what is published from now on. What cannot be given is
    /// told by a [`Gap`](crate::topic::Gap), and reading goes on at the oldest event that is held.
    pub fn subscribe(&self, cursor: impl Into<Cursor>) -> Subscription<T> {
        let Cursor {
            from, is_resumed, ..
        } = cursor.into();
        Subscription::new(Arc::clone(&self.backend).subscribe(from), is_resumed)
    }

    /// How many bytes the topic holds, as [`TopicBuilder::bytes`] counts them.
    pub fn held_bytes(&self) -> usize {
        self.backend.held_bytes()
    }

    /// How many subscriptions there are.
    pub fn subscribers(&self) -> usize {
        self.backend.subscribers()
    }

    /// Ends the topic: its readers get what is left, then their end. A stream that ends so is over for good: a client that
    /// comes back to its endpoint with what it has seen last gets what it missed, then its end, then `204`.
    ///
    /// A stream that has read the topic to its end sends the event `done` by itself when its handler
    /// returns, unless its endpoint has `events = "own"`.
    pub fn finish(&self) {
        self.backend.finish();
    }

    /// Ends the topic as failed: its readers get what is left, then the error.
    pub(crate) fn fail(&self, failure: Failure) {
        self.backend.fail(Arc::new(failure));
    }

    /// Whether it is finished.
    pub fn is_finished(&self) -> bool {
        self.backend.is_finished()
    }
}

impl<T> Clone for Topic<T> {
    fn clone(&self) -> Self {
        Self {
            backend: Arc::clone(&self.backend),
            encode: Arc::clone(&self.encode),
        }
    }
}

impl<T> fmt::Debug for Topic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Topic").field(&self.backend).finish()
    }
}

/// How many events a topic holds by default.
const EVENTS: usize = 1024;

/// How many bytes of them, by default.
const BYTES: usize = 64 * 1024 * 1024;

/// A topic that is being made, see [`Topic::builder`].
///
/// ```
/// use std::time::Duration;
/// use sse_runtime::Topic;
///
/// let prices: Topic<u64> = Topic::builder()
///     .events(10_000)
///     .bytes(8 * 1024 * 1024)
///     .age(Duration::from_secs(600))
///     .build();
/// ```
#[must_use = "a builder does nothing until it builds"]
pub struct TopicBuilder<T> {
    encode: Encode<T>,
    capacity: Capacity,
    overflow: Overflow<T>,
}

impl<T: Send + Sync + 'static> TopicBuilder<T> {
    /// How many events are held at most; 1024 by default. The newest is held in any case.
    pub fn events(mut self, events: usize) -> Self {
        self.capacity.events = events;
        self
    }

    /// How many bytes are held at most; 64 MiB by default. The newest event is held however large it is.
    ///
    /// An event counts with its value, its frame and some 200 bytes of overhead. What a value owns on
    /// the heap (text, collections) is not known, and is taken to be as large as the frame. With
    /// [`latest_by`](Self::latest_by) the newest event of each key counts too, and stays.
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.capacity.bytes = bytes;
        self
    }

    /// How long an event is held at most; for ever by default.
    pub fn age(mut self, age: Duration) -> Self {
        self.capacity.age = Some(age);
        self
    }

    /// A reader that was overtaken is told so, and goes on with the newest event. By default it goes on with the oldest that
    /// is held.
    pub fn latest(mut self) -> Self {
        self.overflow = Overflow::Latest;
        self
    }

    /// A reader that was overtaken is told so, and gets the newest event of each key, of those that it has not seen: for
    /// what only the last state matters of, such as prices by their symbol. It holds the newest event of each key for ever,
    /// so the keys must be few. `key` runs under the topic's lock, as do `Hash`, `Eq` and `Drop` of what it returns, and none of
    /// them must ask the topic for anything.
    pub fn latest_by<K, F>(mut self, key: F) -> Self
    where
        K: Hash + Eq + Send + 'static,
        F: Fn(&T) -> K + Send + 'static,
    {
        self.overflow = Overflow::LatestBy(Box::new(NewestByKey::new(key)));
        self
    }

    /// A reader that was overtaken ends, with [`CloseReason::Lagged`](crate::CloseReason::Lagged): where what it missed is
    /// held elsewhere, to be read when it comes back. In memory it is not, so it is told of a gap then.
    pub fn disconnect(mut self) -> Self {
        self.overflow = Overflow::Disconnect;
        self
    }

    /// The topic.
    pub fn build(self) -> Topic<T> {
        Topic {
            backend: Arc::new(Ring::new(self.capacity, self.overflow)),
            encode: self.encode,
        }
    }
}

impl<T> fmt::Debug for TopicBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicBuilder")
            .field("capacity", &self.capacity)
            .field("overflow", &self.overflow)
            .finish_non_exhaustive()
    }
}
