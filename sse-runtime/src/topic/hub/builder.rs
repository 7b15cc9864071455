//! [`HubBuilder`]: the limits of a hub.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use super::{Hub, Inner, Make, State};

/// The limits of a hub on the number of its topics, their size, and how long they are kept.
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

/// Creates a [`Hub`] with custom limits; see [`Hub::builder`].
///
/// ```
/// use std::time::Duration;
/// use sse_runtime::{Hub, Topic};
///
/// let rooms: Hub<String> = Hub::builder(|| Topic::in_memory(100))
///     .idle(Duration::from_secs(600))
///     .max_topics(1_000)
///     .build();
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct HubBuilder<T> {
    pub(crate) make: Make<T>,
    pub(crate) limits: Limits,
}

impl<T: Send + Sync + 'static> HubBuilder<T> {
    /// Sets how long an unused topic is kept, together with its events. The default is 5 minutes;
    /// [`Duration::MAX`] means forever. A topic is unused if it has no handle and no subscription.
    /// The hub looks for unused topics four times within that time, so a topic may be kept up to a
    /// quarter longer.
    ///
    /// After a run has ended, it can be [replayed](Hub::spawn) for the same amount of time.
    pub fn idle(mut self, idle: Duration) -> Self {
        self.limits.idle = idle;
        self
    }

    /// Sets how many topics may exist at once. The default is 10,000.
    ///
    /// When the maximum is reached, the topic that has been unused the longest is dropped to make
    /// room for a new one. Finished topics are dropped first. The hub returns
    /// [`HubError::Full`](crate::topic::HubError::Full) if all topics are in use, or if
    /// [`idle`](Self::idle) is [`Duration::MAX`], in which case topics are never dropped.
    pub fn max_topics(mut self, max: usize) -> Self {
        self.limits.max_topics = max;
        self
    }

    /// Sets how many bytes all topics together may hold before unused ones are dropped. The default
    /// is 256 MiB. Finished topics are dropped first, then the topics that have been unused the
    /// longest.
    ///
    /// Bytes are counted as in [`TopicBuilder::bytes`](crate::topic::TopicBuilder::bytes). Topics
    /// in use are kept, within their own limits, but no new topic is created while they exceed this
    /// limit.
    pub fn max_bytes(mut self, max: usize) -> Self {
        self.limits.max_bytes = max;
        self
    }

    /// Sets how long a [run](Hub::spawn) continues without a reader. By default, it continues
    /// forever.
    ///
    /// The time counts from the start of the run, and again from the moment when its last reader
    /// disconnects. An abandoned run is stopped at its next `.await`, and counts as failed. A
    /// reader that reconnects receives the events published so far, then an error without details.
    pub fn abandon_after(mut self, after: Duration) -> Self {
        self.limits.abandon_after = Some(after);
        self
    }

    /// Creates the hub.
    pub fn build(self) -> Hub<T> {
        Hub(Arc::new(Inner {
            make: self.make,
            limits: self.limits,
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
