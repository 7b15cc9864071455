//! [`TopicBuilder`]: configures a topic's limits.

use std::{fmt, hash::Hash, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    OpenError, Topic,
    engine::{Codec, Follower, Keep, Node},
    ring::{
        Ring,
        overflow::{Capacity, NewestByKey, Overflow},
    },
    topic::Encode,
};

/// The default maximum number of events in a topic.
pub(super) const EVENTS: usize = 1024;

/// The default maximum number of bytes in a topic.
pub(super) const BYTES: usize = 64 * 1024 * 1024;

/// Creates a [`Topic`] with custom limits. See [`Topic::builder`].
///
/// ```
/// use std::time::Duration;
/// use sse_runtime::Topic;
///
/// let prices: Topic<u64> = Topic::builder()
///     .keep(10_000)
///     .keep_bytes(8 * 1024 * 1024)
///     .keep_for(Duration::from_secs(600))
///     .build();
/// ```
#[must_use = "a builder does nothing until `build` or `open` is called"]
pub struct TopicBuilder<T> {
    pub(super) encode: Encode<T>,
    pub(super) capacity: Capacity,
    pub(super) overflow: Overflow<T>,
}

impl<T: Send + Sync + 'static> TopicBuilder<T> {
    /// Sets the maximum number of events to hold. The default is 1024. The newest event is always
    /// held, unless it is older than the maximum [age](Self::keep_for).
    pub fn keep(mut self, events: usize) -> Self {
        self.capacity.events = events;
        self
    }

    /// Sets the maximum number of bytes to hold. The default is 64 MiB. The newest event is held
    /// regardless of its size.
    ///
    /// An event's size includes its value, its frame and about 200 bytes of overhead. Heap data
    /// owned by a value, such as the contents of its strings and collections, cannot be measured,
    /// so the size of the frame is used as an estimate. With [`latest_by`](Self::latest_by), the
    /// newest event of each key also counts towards the limit but is never removed.
    pub fn keep_bytes(mut self, bytes: usize) -> Self {
        self.capacity.bytes = bytes;
        self
    }

    /// Sets the maximum age of the events to hold. There is no maximum by default. An engine may also
    /// remove a topic that is not open once all of its events are older than this.
    pub fn keep_for(mut self, age: Duration) -> Self {
        self.capacity.age = Some(age);
        self
    }

    /// Sends a [`Gap`](super::Gap) to a reader when its next event is no longer held. The reader
    /// then continues with the newest event. By default, it continues with the oldest event still
    /// held.
    pub fn latest(mut self) -> Self {
        self.overflow = Overflow::Latest;
        self
    }

    /// Sends a [`Gap`](super::Gap) to a reader when its next event is no longer held. The reader
    /// then continues with the newest event of each key, except for events that it has already
    /// read. Use this setting if only the latest state matters, such as the current price of each
    /// symbol. The topic holds the newest event of each key forever, so the number of keys should
    /// be small. An engine, however, stores it no longer than any other event.
    ///
    /// The topic's lock is held while `key` and the `Hash`, `Eq` and `Drop` implementations of its
    /// return value run, so none of them may use the topic.
    pub fn latest_by<K, F>(mut self, key: F) -> Self
    where
        K: Hash + Eq + Send + 'static,
        F: Fn(&T) -> K + Send + 'static,
    {
        self.overflow = Overflow::LatestBy(Box::new(NewestByKey::new(key)));
        self
    }

    /// Stops a reader when its next event is no longer held. The reader's stream then closes with
    /// [`CloseReason::Lagged`](crate::CloseReason::Lagged). This setting is useful if the events
    /// are also stored elsewhere and the client can fetch the missed ones from there after it
    /// reconnects. The topic itself no longer holds the missed events, so a client that resumes
    /// from the topic receives a gap.
    pub fn disconnect(mut self) -> Self {
        self.overflow = Overflow::Disconnect;
        self
    }

    /// Opens a topic stored by `engine`, or creates it if it does not exist. Unlike an in-memory
    /// topic, a stored topic survives a restart of the process.
    ///
    /// If the topic is already open in this process, this builder's settings are ignored and those
    /// of the open topic apply.
    ///
    /// # Errors
    ///
    /// Returns an error if the engine does not respond within 5 seconds, if the name is longer than
    /// 1,024 bytes or contains a NUL or a line break, or if the topic is already open in this
    /// process with another type of value.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the topic is not opened.
    pub async fn open(self, engine: &impl AsRef<Node>, name: &str) -> Result<Topic<T>, OpenError>
    where
        T: Serialize + DeserializeOwned,
    {
        let topic = self.start(engine.as_ref(), name, Codec::new())?;
        topic.backend.opened().await?;
        Ok(topic)
    }

    /// Starts to open a stored topic.
    pub(super) fn start(
        self,
        node: &Node,
        name: &str,
        codec: Codec<T>,
    ) -> Result<Topic<T>, OpenError> {
        let Capacity { events, bytes, age } = self.capacity;
        let keep = Keep { events, bytes, age };
        let ring = Ring::new(self.capacity, self.overflow);
        Ok(Topic {
            backend: Follower::start(node, name, ring, codec, keep)?,
            encode: self.encode,
        })
    }

    /// Creates an in-memory topic.
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
