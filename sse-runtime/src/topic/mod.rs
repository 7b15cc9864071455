//! [`Topic`]: a sequence of events that are encoded once, sent to many clients, and replayed
//! without gaps.

pub(crate) mod backend;
mod batch;
mod hub;
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
pub use hub::{Hub, builder::HubBuilder, error::HubError};
pub use presence::{Presence, PresenceEvent, PresenceGuard};
pub use publish::PublishError;
use ring::{
    Ring,
    overflow::{Capacity, NewestByKey, Overflow},
};
pub use run_result::RunResult;
pub use subscription::{Filter, Map, Subscription, Update};

/// A sequence of events for many clients. Each event is encoded once, when it is published, and all
/// clients share its bytes.
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
/// A subscriber is a cursor and not a queue. A slow subscriber holds only the events that it has
/// read but not handled yet (at most 256 events and 32 KiB of frames), and never delays other
/// subscribers. The body of the endpoint above could also be `yield_all!(prices.subscribe(last));`.
/// Streams at the same position then send the same bytes without copying them.
///
/// # Resuming
///
/// Each event has an id, which a browser sends back when it reconnects.
/// [`subscribe`](Self::subscribe) accepts this id. The reader receives the events after the id that
/// are still held, followed by all events that are published later. No event in between is lost or
/// repeated. If events after the id are no longer held, the reader receives a `gap` event (see
/// [`Gap`]). An id contains the epoch of its topic, so a restarted process does not mistake an old
/// id for a new one.
///
/// Clones refer to the same topic.
pub struct Topic<T> {
    backend: Arc<dyn Backend<T>>,
    encode: Encode<T>,
}

type Encode<T> = Arc<Item<T>>;

/// The start of a subscription whose client has not sent an id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// Starts with the next event that is published.
    #[default]
    Now,
    /// Starts with the oldest event that is held.
    First,
    /// Starts with at most this number of the newest events that are held.
    Latest(usize),
}

/// The position at which [`Topic::subscribe`] starts. It is a [`Start`], an [`EventId`], or the
/// [`LastEventId`] of the request. [`LastEventId::or`] sets the position for clients that connect
/// for the first time.
#[derive(Clone, Debug)]
pub struct Cursor {
    from: StartAt,
    /// The start of topics that the id does not contain.
    start: Start,
    /// Whether the position was determined by the client's id, or by the fact that it has no id.
    is_resumed: bool,
    /// Whether a client without an id starts at the default position.
    is_default: bool,
}

impl Cursor {
    /// Returns the cursor for a run. By default, a client without an id reads a run from the
    /// beginning.
    fn for_run(mut self) -> Self {
        if self.is_default {
            self.start = Start::First;
            if let StartAt::Start(start) = &mut self.from {
                *start = Start::First;
            }
        }
        self
    }

    /// Returns whether the client has sent an id, even an invalid one.
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
    /// Returns a cursor after this id, or at `start` if the client did not send an id.
    ///
    /// ```
    /// # use sse_runtime::{LastEventId, Start, Stream, Topic, sse_endpoint};
    /// # use axum::extract::State;
    /// #[sse_endpoint("/price")]
    /// async fn price(State(prices): State<Topic<u64>>, last: LastEventId) -> impl Stream<Item = u64> {
    ///     // A client that connects for the first time receives the newest price at once.
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
    /// Creates a topic in the memory of this process. It holds the newest `events` events for
    /// replay, up to 64 MiB.
    pub fn in_memory<Kind>(events: usize) -> Self
    where
        T: Payload<Kind>,
    {
        Self::builder().events(events).build()
    }

    /// Creates a topic in the memory of this process with custom limits.
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

    /// Publishes an event and returns its id. The value is serialized only once.
    ///
    /// # Errors
    ///
    /// Returns an error if the value cannot be serialized, or if the topic is finished.
    ///
    /// # Cancel safety
    ///
    /// In memory, the future is ready when it is first polled.
    pub async fn publish(&self, value: &T) -> Result<EventId, PublishError>
    where
        T: Clone,
    {
        self.publish_event(Event::json(value.clone())).await
    }

    /// Publishes an event that can have a name, a `retry` and a comment. The topic sets the id.
    ///
    /// # Errors
    ///
    /// Returns an error if the value cannot be serialized, if the topic is finished, or if the
    /// event already has an id.
    ///
    /// # Cancel safety
    ///
    /// In memory, the future is ready when it is first polled.
    pub async fn publish_event(&self, event: Event<T>) -> Result<EventId, PublishError> {
        let encoded = self.encode(event)?;
        self.backend.publish(encoded).await
    }

    /// Publishes an event without waiting. A topic in memory never has to wait. Use this method in
    /// code that is not `async`, or under a lock if a check and the publish must be atomic, for
    /// example to compare a bid with the highest bid so far.
    ///
    /// # Errors
    ///
    /// Returns an error under the same conditions as [`publish`](Self::publish), or
    /// [`PublishError::TakesTime`] if the back end has to wait.
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

    /// Reads the topic from `cursor` on, which is a [`LastEventId`], an [`EventId`], or a
    /// [`Start`]. By default, a client without an id receives the events that are published from
    /// now on. Use [`last.or(Start::…)`](LastEventId::or) to change this.
    ///
    /// The subscription begins with the events after the id that are still held, followed by all
    /// events that are published later. If events after the id are no longer held, or the id does
    /// not belong to this topic, the subscription begins with a [`Gap`], and continues with the
    /// oldest event that is held.
    pub fn subscribe(&self, cursor: impl Into<Cursor>) -> Subscription<T> {
        let Cursor {
            from, is_resumed, ..
        } = cursor.into();
        Subscription::new(Arc::clone(&self.backend).subscribe(from), is_resumed)
    }

    /// Returns the number of bytes that the topic holds, counted as in [`TopicBuilder::bytes`].
    pub fn held_bytes(&self) -> usize {
        self.backend.held_bytes()
    }

    /// Returns the number of subscriptions.
    pub fn subscribers(&self) -> usize {
        self.backend.subscribers()
    }

    /// Finishes the topic. Its readers receive the remaining events and then the end, and their
    /// streams are over permanently. A client that reconnects with its last id receives the events
    /// that it missed, and then the end. If it reconnects again, it receives a `204`.
    ///
    /// A stream that has read the topic to its end automatically sends a `done` event when its
    /// handler returns, unless its endpoint has `events = "own"`.
    pub fn finish(&self) {
        self.backend.finish();
    }

    /// Finishes the topic as failed. Its readers receive the remaining events and then the error.
    pub(crate) fn fail(&self, failure: Failure) {
        self.backend.fail(Arc::new(failure));
    }

    /// Returns whether the topic is finished.
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

/// The number of events that a topic holds by default.
const EVENTS: usize = 1024;

/// The number of bytes that a topic holds by default.
const BYTES: usize = 64 * 1024 * 1024;

/// Creates a [`Topic`] with custom limits. See [`Topic::builder`].
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
#[must_use = "a builder does nothing until `build` is called"]
pub struct TopicBuilder<T> {
    encode: Encode<T>,
    capacity: Capacity,
    overflow: Overflow<T>,
}

impl<T: Send + Sync + 'static> TopicBuilder<T> {
    /// Sets the maximum number of events that are held. The default is 1024. The newest event is
    /// always held, unless it exceeds the maximum [`age`](Self::age).
    pub fn events(mut self, events: usize) -> Self {
        self.capacity.events = events;
        self
    }

    /// Sets the maximum number of bytes that are held. The default is 64 MiB. The newest event is
    /// held regardless of its size.
    ///
    /// The size of an event includes its value, its frame and about 200 bytes of overhead. The size
    /// of the data that a value owns on the heap (text, collections) is unknown, and is estimated
    /// as the size of the frame. With [`latest_by`](Self::latest_by), the newest event of each key
    /// is also counted, but is never removed.
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.capacity.bytes = bytes;
        self
    }

    /// Sets the maximum time for which an event is held. There is no maximum by default.
    pub fn age(mut self, age: Duration) -> Self {
        self.capacity.age = Some(age);
        self
    }

    /// Makes an overtaken reader continue with the newest event, after a [`Gap`]. By default, it
    /// continues with the oldest event that is held.
    pub fn latest(mut self) -> Self {
        self.overflow = Overflow::Latest;
        self
    }

    /// Makes an overtaken reader continue, after a [`Gap`], with the newest event of each key that
    /// it has not seen yet. Use this setting if only the latest state matters, such as prices by
    /// symbol. The topic holds the newest event of each key forever, so the number of keys should
    /// be small. `key`, and the `Hash`, `Eq` and `Drop` implementations of its return value, run
    /// under the topic's lock. None of them may use the topic.
    pub fn latest_by<K, F>(mut self, key: F) -> Self
    where
        K: Hash + Eq + Send + 'static,
        F: Fn(&T) -> K + Send + 'static,
    {
        self.overflow = Overflow::LatestBy(Box::new(NewestByKey::new(key)));
        self
    }

    /// Ends an overtaken reader with [`CloseReason::Lagged`](crate::CloseReason::Lagged). This is
    /// suitable for a back end that stores the missed events elsewhere, so that the client can read
    /// them after it reconnects. A topic in memory no longer holds them, so the client receives a
    /// gap when it reconnects.
    pub fn disconnect(mut self) -> Self {
        self.overflow = Overflow::Disconnect;
        self
    }

    /// Creates the topic.
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
