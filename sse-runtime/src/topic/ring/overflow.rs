//! [`Overflow`]: the policy for a reader whose next event is no longer held.

use std::{
    any::type_name,
    collections::{HashMap, hash_map},
    fmt,
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use crate::topic::backend::Entry;

/// The limits on held events. The oldest events are evicted if any limit is exceeded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
    pub(crate) age: Option<Duration>,
}

/// The policy for a reader whose next event is no longer held.
pub(crate) enum Overflow<T> {
    /// Continues with the oldest event still held.
    Skip,
    /// Continues with the newest event.
    Latest,
    /// Continues with the newest event of each key.
    LatestBy(Box<dyn NewestOf<T>>),
    /// Ends the subscription.
    Disconnect,
}

/// Tracks the newest event of each key.
pub(crate) trait NewestOf<T>: Send {
    /// Records a new event. Returns the event that it supersedes, if any, along with that event's
    /// sequence number.
    fn published(&mut self, number: u64, entry: &Arc<Entry<T>>) -> Option<(u64, Arc<Entry<T>>)>;

    /// Returns the newest event of each key and its sequence number, in order. Events up to
    /// `number` are excluded.
    fn after(&self, number: u64) -> Vec<(u64, Arc<Entry<T>>)>;

    /// Removes an event that is the newest event of its key.
    fn remove(&mut self, entry: &Arc<Entry<T>>);

    /// Records a held event as the newest event of its key, unless the key already has one. Returns
    /// whether the event was recorded.
    fn restore(&mut self, number: u64, entry: &Arc<Entry<T>>) -> bool;

    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

pub(crate) struct NewestByKey<T, K, F> {
    key: F,
    newest: HashMap<K, (u64, Arc<Entry<T>>)>,
}

impl<T, K, F> NewestByKey<T, K, F> {
    pub(crate) fn new(key: F) -> Self {
        Self {
            key,
            newest: HashMap::new(),
        }
    }
}

impl<T, K, F> NewestOf<T> for NewestByKey<T, K, F>
where
    T: Send + Sync,
    K: Hash + Eq + Send,
    F: Fn(&T) -> K + Send,
{
    fn published(&mut self, number: u64, entry: &Arc<Entry<T>>) -> Option<(u64, Arc<Entry<T>>)> {
        let key = (self.key)(entry.value.as_ref()?);
        self.newest.insert(key, (number, Arc::clone(entry)))
    }

    fn remove(&mut self, entry: &Arc<Entry<T>>) {
        if let Some(value) = &entry.value {
            self.newest.remove(&(self.key)(value));
        }
    }

    fn restore(&mut self, number: u64, entry: &Arc<Entry<T>>) -> bool {
        let Some(value) = &entry.value else {
            return false;
        };
        match self.newest.entry((self.key)(value)) {
            hash_map::Entry::Occupied(_) => false,
            hash_map::Entry::Vacant(vacant) => {
                vacant.insert((number, Arc::clone(entry)));
                true
            }
        }
    }

    fn after(&self, number: u64) -> Vec<(u64, Arc<Entry<T>>)> {
        let newest = self.newest.values();
        let mut after: Vec<_> = newest.filter(|(of, _)| *of > number).cloned().collect();
        after.sort_unstable_by_key(|(of, _)| *of);
        after
    }

    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LatestBy")
            .field("key", &type_name::<K>())
            .field("keys", &self.newest.len())
            .finish()
    }
}

impl<T> fmt::Debug for Overflow<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skip => f.write_str("Skip"),
            Self::Latest => f.write_str("Latest"),
            Self::LatestBy(newest) => newest.fmt(f),
            Self::Disconnect => f.write_str("Disconnect"),
        }
    }
}
