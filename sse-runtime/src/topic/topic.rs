//! [`Topic`]: broadcasts events to many clients and encodes each event only once.

use std::{fmt, sync::Arc, time::Duration};

use bytes::BytesMut;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Cursor, Key, OpenError, Publish, PublishError, Subscription,
    backend::{Backend, Encoded},
    builder::{BYTES, EVENTS, TopicBuilder},
    engine::{Backoff, BoxFuture, Node},
    merged::{self, Merged},
    publish,
    ring::overflow::{Capacity, Overflow},
};
use crate::{
    event::{event::Event, frame::Frame, id::EventId, payload::Payload},
    generator::yielder::Item,
};

/// A sequence of events that many clients can read. Each event is encoded once, when it is
/// published, and all clients share the encoded bytes.
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
/// A subscriber is a cursor, not a queue. A slow subscriber holds only events that it has read but
/// not handled (up to 256 events and 32 KiB of frames) and never delays other subscribers. The body
/// of the endpoint above could also be `yield_all!(prices.subscribe(last));`. Streams at the same
/// position then send the same bytes without copying them.
///
/// # Resuming
///
/// Each event has an id, which a browser sends back when it reconnects.
/// [`subscribe`](Self::subscribe) accepts this id. The reader receives all later events that are
/// still held, followed by new events as they are published. No event in between is lost or
/// repeated. If events after the id are no longer held, the reader receives a `gap` event (see
/// [`Gap`](super::Gap)). An id also contains the topic's epoch. The epoch of an in-memory topic
/// changes when the process restarts, so ids from before a restart are not mistaken for current
/// ones.
///
/// All clones refer to the same topic.
pub struct Topic<T> {
    pub(super) backend: Arc<dyn Backend<T>>,
    pub(super) encode: Encode<T>,
}

pub(super) type Encode<T> = Arc<Item<T>>;

/// The delays between attempts to publish an event.
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

impl<T: Send + Sync + 'static> Topic<T> {
    /// Creates an in-memory topic that holds the newest `events` events for replay, up to a total
    /// of 64 MiB.
    pub fn in_memory<Kind>(events: usize) -> Self
    where
        T: Payload<Kind>,
    {
        Self::builder().keep(events).build()
    }

    /// Opens a topic stored by `engine`, with the default limits: the newest 1024 events, up to a
    /// total of 64 MiB. See [`TopicBuilder::open`].
    ///
    /// # Errors
    ///
    /// Returns an error under the same conditions as [`TopicBuilder::open`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the topic is not opened.
    pub async fn open<Kind>(engine: &impl AsRef<Node>, name: &str) -> Result<Self, OpenError>
    where
        T: Payload<Kind> + Serialize + DeserializeOwned,
    {
        Self::builder().open(engine, name).await
    }

    /// Returns a builder for a topic with custom limits.
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
    /// Returns an error if the value cannot be serialized, or if the topic is finished. If an
    /// engine stores the topic, publishing can also fail in the engine. See [`PublishError`].
    ///
    /// # Cancel safety
    ///
    /// For an in-memory topic, the future completes when it is first polled, so it cannot be
    /// dropped halfway through. If an engine stores the topic and the future is dropped, the event
    /// may or may not be published.
    pub fn publish(&self, value: &T) -> Publish<'_, T>
    where
        T: Clone,
    {
        self.publish_event(Event::json(value.clone()))
    }

    /// Publishes an event, which may have a name, a `retry` and a comment. The topic sets the id.
    ///
    /// # Errors
    ///
    /// Returns an error if the event already has an id or marks the end of a stream, or under the
    /// same conditions as [`publish`](Self::publish).
    ///
    /// # Cancel safety
    ///
    /// See [`publish`](Self::publish).
    pub fn publish_event(&self, event: Event<T>) -> Publish<'_, T> {
        Publish::new(self, event, None)
    }

    /// Like [`publish`](Self::publish), but stores the event only once, even if it is published
    /// several times with the same key. If the topic still holds an event with this key, the id of
    /// that event is returned. Use this method to publish an event again after a
    /// [`PublishError::Unknown`], or if your clients send idempotency keys.
    ///
    /// # Errors
    ///
    /// Returns an error under the same conditions as [`publish`](Self::publish).
    ///
    /// # Cancel safety
    ///
    /// See [`publish`](Self::publish).
    pub fn publish_with_key(&self, key: impl Into<Key>, value: &T) -> Publish<'_, T>
    where
        T: Clone,
    {
        Publish::new(self, Event::json(value.clone()), Some(key.into()))
    }

    /// Like [`publish`](Self::publish), but tries again while the engine that stores the topic is
    /// unavailable. All attempts use the same key, so the event is stored only once. The delay between
    /// attempts increases from 100 milliseconds to 5 seconds, and there is no limit on the number of
    /// attempts. For an in-memory topic, this method is the same as `publish`.
    ///
    /// Use this method in [runs](crate::Hub::spawn) and in other producers that should continue after
    /// an outage. The event is not buffered anywhere else, so a producer publishes nothing in the
    /// meantime. In a request handler, limit the time with [`tokio::time::timeout`], or use
    /// [`publish_with_key`](Self::publish_with_key) with a key from the client.
    ///
    /// # Errors
    ///
    /// Returns an error under the same conditions as [`publish`](Self::publish), except
    /// [`PublishError::Unavailable`] and [`PublishError::Unknown`].
    ///
    /// # Cancel safety
    ///
    /// See [`publish`](Self::publish).
    // The boxed future does not depend on `T: Clone`, so the compiler reports a `T` that is not
    // `Clone` only once.
    pub fn publish_with_retry<'a>(
        &'a self,
        value: &'a T,
    ) -> BoxFuture<'a, Result<EventId, PublishError>>
    where
        T: Clone,
    {
        Box::pin(async move {
            let mut backoff = RETRY;
            let key = Key::random();
            loop {
                let error = match self.publish_with_key(key, value).await {
                    Err(
                        error @ (PublishError::Unavailable { .. } | PublishError::Unknown { .. }),
                    ) => error,
                    published => return published,
                };
                tracing::debug!(%error, "failed to publish an event; trying again");
                backoff.wait().await;
            }
        })
    }

    /// Publishes an event without waiting. An in-memory topic never has to wait. Use this method in
    /// synchronous code, or to check a condition and publish atomically while holding a lock. For
    /// example, an auction must publish a bid only if it is higher than every earlier bid.
    ///
    /// # Errors
    ///
    /// Returns an error under the same conditions as [`publish`](Self::publish), or
    /// [`PublishError::TakesTime`] if an engine stores the topic.
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

    /// Subscribes to the topic, starting at `cursor`. The cursor is a
    /// [`LastEventId`](crate::LastEventId), an [`EventId`], or a [`Start`](super::Start). By
    /// default, a client without an id receives only events published after it subscribes. Use
    /// [`last.or(Start::…)`](crate::LastEventId::or) to change this.
    ///
    /// If the cursor is an id, the subscription starts with the events after that id that are still
    /// held, followed by new events as they are published. If events after the id are no longer
    /// held, or if the id does not belong to this topic, the subscription starts with a
    /// [`Gap`](super::Gap) and continues with the oldest event still held, or at the position set by
    /// [`Cursor::after_gap`]. A client can send any id, so every client that may subscribe can
    /// read every event that the topic holds, even if `cursor` is [`Start::Now`](super::Start::Now) for
    /// clients without an id.
    pub fn subscribe(&self, cursor: impl Into<Cursor>) -> Subscription<T> {
        let name = self.backend.name_in_ids();
        subscribe(Arc::clone(&self.backend), name, cursor.into())
    }

    /// Returns the number of bytes that the topic holds, counted as in [`TopicBuilder::keep_bytes`].
    pub fn held_bytes(&self) -> usize {
        self.backend.held_bytes()
    }

    /// Returns the number of subscriptions.
    pub fn subscribers(&self) -> usize {
        self.backend.subscribers()
    }

    /// Finishes the topic. The topic's readers receive the remaining events, and then their streams
    /// end. A client that reconnects with its last id receives the events that it missed, and then
    /// its stream ends as well. If it reconnects once more, it receives a `204`.
    ///
    /// A stream that has read the topic to the end automatically sends a `done` event when the
    /// handler returns, unless `events = "own"` applies to the endpoint.
    ///
    /// If the topic is already finished, this method does nothing.
    ///
    /// # Errors
    ///
    /// Returns an error if an engine stores the topic and is not available. For an in-memory topic,
    /// this method never returns an error.
    ///
    /// # Cancel safety
    ///
    /// For an in-memory topic, the future completes when it is first polled. If an engine stores
    /// the topic and the future is dropped, the topic may or may not be finished.
    pub async fn finish(&self) -> Result<(), PublishError> {
        self.backend.finish(None).await
    }

    /// Returns whether the topic is finished.
    pub fn is_finished(&self) -> bool {
        self.backend.is_finished()
    }
}

/// Subscribes to the topic of a back end. The ids contain the name, if there is one.
pub(super) fn subscribe<T: Send + Sync + 'static>(
    backend: Arc<dyn Backend<T>>,
    name: Option<&str>,
    cursor: Cursor,
) -> Subscription<T> {
    let Cursor {
        from,
        after_gap,
        is_resumed,
        ..
    } = cursor;
    let reader = match name {
        None => backend.subscribe(from, after_gap),
        Some(name) => {
            let reader = backend.subscribe(merged::position_in(&from, name), after_gap);
            Box::new(Merged::new([(merged::escape(name), reader)]))
        }
    };
    Subscription::new(reader, is_resumed)
}

impl<T> Topic<T> {
    pub(super) fn encode(&self, event: Event<T>) -> Result<Encoded<T>, PublishError> {
        let (fields, value) = publish::shared(event)?;
        let mut frame = BytesMut::new();
        let mut writing = Frame::new(&mut frame, &fields);
        self.encode.encode(&value, &mut writing)?;
        if writing.finish().is_some() {
            return Err(PublishError::NotForTopics { what: "an id" });
        }
        Ok(Encoded {
            value,
            frame,
            key: None,
            owner: None,
        })
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
