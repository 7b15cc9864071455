//! [`HubBuilder`]: configures a hub's limits.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

use super::{Hub, Inner, Make, State, error::HubError};
use crate::topic::{
    OpenError, Topic, TopicBuilder,
    engine::{Codec, Node, is_valid_name},
};

/// A hub's limits: how many topics there can be, how many bytes they can hold in total, how long an
/// unused topic is kept, and how long a run continues without a reader.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) idle: Duration,
    pub(crate) max_topics: usize,
    pub(crate) max_bytes: usize,
    pub(crate) abandon_after: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(300),
            max_topics: 10_000,
            max_bytes: 256 * 1024 * 1024,
            abandon_after: None,
        }
    }
}

/// Creates a [`Hub`] with custom limits. See [`Hub::builder`].
///
/// ```
/// use std::time::Duration;
/// use sse_runtime::{Hub, Topic};
///
/// let rooms: Hub<String> = Hub::builder(|| Topic::builder().keep(100))
///     .idle(Duration::from_secs(600))
///     .max_topics(1_000)
///     .build();
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct HubBuilder<T> {
    pub(crate) make: Make<T>,
    pub(crate) limits: Limits,
    pub(crate) store: Option<Store<T>>,
    pub(crate) has_named_ids: bool,
}

/// The engine that stores a hub's topics, and the prefix of their names.
pub(crate) struct Store<T> {
    node: Node,
    prefix: String,
    codec: fn() -> Codec<T>,
}

impl<T> Store<T> {
    /// Returns by how many bytes a topic's name in the engine is longer than in the hub.
    pub(super) fn prefix_len(&self) -> usize {
        self.prefix.len() + "/".len()
    }
}

impl<T: Send + Sync + 'static> Store<T> {
    /// Starts to open a stored topic.
    pub(super) fn start(
        &self,
        builder: TopicBuilder<T>,
        name: &str,
    ) -> Result<Topic<T>, OpenError> {
        let name = self.stored_name(name);
        builder.start(&self.node, &name, (self.codec)())
    }

    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    /// Returns the name of a topic in the engine.
    pub(super) fn stored_name(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }

    /// Returns whether the engine stores a topic with this name, without creating it.
    pub(super) async fn contains(&self, name: &str) -> Result<bool, HubError> {
        let name = self.stored_name(name);
        self.node.contains(&name).await.map_err(|error| {
            tracing::warn!(name, %error, "failed to check whether a topic exists");
            HubError::Unavailable
        })
    }
}

impl<T: Send + Sync + 'static> HubBuilder<T> {
    /// Sets how long an unused topic and its events are kept. The default is 5 minutes. With
    /// [`Duration::MAX`], unused topics are kept forever. A topic is unused if it has no handles
    /// and no subscriptions. The hub checks for unused topics at intervals of a quarter of this
    /// time, so a topic may be kept up to 25% longer.
    ///
    /// After a run has ended, it can be [replayed](Hub::spawn) for the same length of time.
    pub fn idle(mut self, idle: Duration) -> Self {
        self.limits.idle = idle;
        self
    }

    /// Sets the maximum number of topics. The default is 10,000.
    ///
    /// Once the maximum is reached, the hub drops an unused topic to make room for each new one.
    /// Finished topics are dropped first, followed by those that have been unused the longest. If
    /// all topics are in use, requests for new topics fail with
    /// [`HubError::Full`](crate::topic::HubError::Full). If [`idle`](Self::idle) is
    /// [`Duration::MAX`], the hub never drops unused topics, so these requests fail even if some
    /// topics are unused.
    pub fn max_topics(mut self, max: usize) -> Self {
        self.limits.max_topics = max;
        self
    }

    /// Sets how many bytes the topics may hold in total before unused topics are dropped. The
    /// default is 256 MiB. Finished topics are dropped first, followed by those that have been
    /// unused the longest.
    ///
    /// Bytes are counted as described in
    /// [`TopicBuilder::keep_bytes`](crate::topic::TopicBuilder::keep_bytes). Topics in use are
    /// never dropped, but no new topics are created while the total exceeds this limit. Each
    /// topic's own limits still apply.
    pub fn max_bytes(mut self, max: usize) -> Self {
        self.limits.max_bytes = max;
        self
    }

    /// Sets how long a [run](Hub::spawn) continues without a reader. By default, there is no limit.
    ///
    /// The timer starts when the run does and restarts whenever the last reader disconnects. An
    /// abandoned run is stopped at its next `.await` and counts as failed. A client that reconnects
    /// later receives the events published by the run, followed by an error without details.
    ///
    /// If several processes share the [engine](Self::engine), the readers of all processes count.
    /// Because the other processes report their readers only at intervals, a run without readers
    /// continues for at least the time after which the engine considers a run lost (10 seconds by
    /// default for `sse-redis`). Use this setting in all processes, because a hub without it does
    /// not report its readers.
    pub fn abandon_after(mut self, after: Duration) -> Self {
        self.limits.abandon_after = Some(after);
        self
    }

    /// Stores the hub's topics in an engine, so that they survive a restart of the process. By
    /// default, topics are held in memory.
    ///
    /// `prefix` distinguishes this hub's topics from those of other hubs that use the same engine.
    /// For example, if the prefix is `rooms`, the topic `a` is stored as `rooms/a`. The hub's
    /// limits apply only to the topics that are open in this process. If the hub drops a topic, the
    /// topic remains in the engine and is read from there when it is next requested.
    ///
    /// # Panics
    ///
    /// Panics if the prefix contains `/`. Otherwise, the topic `b/c` of the prefix `a` would be the
    /// topic `c` of the prefix `a/b`. Also panics if the prefix is longer than 1,024 bytes or contains
    /// a NUL or a line break.
    #[track_caller]
    pub fn engine(mut self, engine: &impl AsRef<Node>, prefix: &str) -> Self
    where
        T: Serialize + DeserializeOwned,
    {
        assert!(
            !prefix.contains('/'),
            "a hub's prefix cannot contain `/`; choose one without, such as `{}`",
            prefix.replace('/', "-")
        );
        assert!(
            is_valid_name(prefix),
            "a hub's prefix can contain neither NUL nor line breaks, and is limited to 1,024 bytes; `{}` is not valid",
            prefix.escape_debug()
        );
        self.store = Some(Store {
            node: engine.as_ref().clone(),
            prefix: prefix.to_owned(),
            codec: Codec::new,
        });
        self
    }

    /// Includes a topic's name in the id of each of its events, as in
    /// `m1:answer-7=cxcc6rk562sg-42`. A client that returns can then
    /// [resume](Hub::resume_by_id) with the id alone. By default, only the ids of
    /// [`Hub::subscribe`] contain names.
    ///
    /// This applies to the subscriptions of the hub's topics and runs. The ids that
    /// [`Topic::publish`] returns do not contain the name, but they can be used as cursors. Each
    /// reader's frames are copied, because its ids differ from those that the topic holds. Names are
    /// sent to clients and appear in logs, so they must not contain secrets.
    ///
    /// A client whose id does not contain a name, because the hub was previously built without this
    /// setting, resumes as usual.
    pub fn named_ids(mut self) -> Self {
        self.has_named_ids = true;
        self
    }

    /// Creates the hub.
    pub fn build(self) -> Hub<T> {
        Hub(Arc::new(Inner {
            make: self.make,
            limits: self.limits,
            store: self.store,
            has_named_ids: self.has_named_ids,
            freed: OnceLock::new(),
            state: Mutex::new(State::default()),
        }))
    }
}

impl<T> fmt::Debug for HubBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubBuilder")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
