//! [`NewestWins`]: a limit per key at which the oldest stream ends for a new one.

use std::{
    any::type_name,
    collections::{HashMap, VecDeque, hash_map::Entry},
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::http::request::Parts;

use super::{Full, Held, PerKey, Place, Places};
use crate::lifecycle::connection::{Connection, WeakConnection};

pub(super) struct NewestWins<K, F> {
    /// What it was made of, for the key and the maximum.
    limit: Arc<PerKey<K, F>>,
    streams: Mutex<Streams<K>>,
}

struct Streams<K> {
    /// The number of the next stream.
    next: u64,
    /// The oldest first. No key is without streams.
    of: HashMap<K, VecDeque<Stream>>,
}

struct Stream {
    number: u64,
    connection: Option<WeakConnection>,
    /// Its response begins. Until then it may be rejected, so no other stream ends for it.
    has_begun: bool,
}

impl<K, F> NewestWins<K, F>
where
    K: Hash + Eq + Clone,
{
    pub(super) fn new(limit: Arc<PerKey<K, F>>) -> Self {
        Self {
            limit,
            streams: Mutex::new(Streams {
                next: 0,
                of: HashMap::new(),
            }),
        }
    }

    fn streams(&self) -> MutexGuard<'_, Streams<K>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// If there are too many streams that have begun (or, without `has_begun`, that have not), removes the oldest of them.
    fn take_oldest(&self, streams: &mut VecDeque<Stream>, has_begun: bool) -> Option<Stream> {
        let alike = |stream: &&Stream| stream.has_begun == has_begun;
        if streams.iter().filter(alike).count() <= self.limit.max {
            return None;
        }
        let oldest = streams
            .iter()
            .position(|stream| stream.has_begun == has_begun)?;
        streams.remove(oldest)
    }
}

/// Ends a stream that is not among the others any more; not under their lock, since it wakes tasks.
fn supersede(stream: Option<Stream>) {
    if let Some(connection) = stream.and_then(|stream| stream.connection) {
        connection.supersede();
    }
}

impl<K, F> Places for NewestWins<K, F>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    F: Fn(&Parts) -> Option<K> + Send + Sync + 'static,
{
    fn take(self: Arc<Self>, request: &Parts) -> Option<Result<Place, Full>> {
        let key = (self.limit.key)(request)?;
        let mut streams = self.streams();
        let number = streams.next;
        streams.next += 1;
        let of_key = streams.of.entry(key.clone()).or_default();
        of_key.push_back(Stream {
            number,
            connection: None,
            has_begun: false,
        });
        let oldest = self.take_oldest(of_key, false);
        drop(streams);
        supersede(oldest);
        Some(Ok(Place(Box::new(OfNewest {
            limit: self,
            key,
            number,
        }))))
    }

    fn newest_wins(self: Arc<Self>) -> Option<Arc<dyn Places>> {
        Some(self)
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamLimit")
            .field("max", &self.limit.max)
            .field("key", &type_name::<K>())
            .field("newest_wins", &true)
            .finish_non_exhaustive()
    }
}

/// A place, which is another stream's once the stream is superseded.
struct OfNewest<K: Hash + Eq + Clone, F> {
    limit: Arc<NewestWins<K, F>>,
    key: K,
    number: u64,
}

impl<K, F> OfNewest<K, F>
where
    K: Hash + Eq + Clone,
{
    /// Changes the stream; `None` if it is superseded.
    fn change(&self, change: impl FnOnce(&mut Stream)) -> Option<MutexGuard<'_, Streams<K>>> {
        let mut streams = self.limit.streams();
        let of_key = streams.of.get_mut(&self.key)?;
        let stream = of_key
            .iter_mut()
            .find(|stream| stream.number == self.number)?;
        change(stream);
        Some(streams)
    }
}

impl<K, F> Held for OfNewest<K, F>
where
    K: Hash + Eq + Clone + Send + Sync,
    F: Send + Sync,
{
    fn bind(&self, connection: &Connection) {
        let weak = connection.downgrade();
        if self
            .change(|stream| stream.connection = Some(weak))
            .is_none()
        {
            connection.supersede();
        }
    }

    fn begin(&self) {
        let oldest = self
            .change(|stream| stream.has_begun = true)
            .and_then(|mut streams| {
                let of_key = streams.of.get_mut(&self.key)?;
                self.limit.take_oldest(of_key, true)
            });
        supersede(oldest);
    }
}

impl<K: Hash + Eq + Clone, F> Drop for OfNewest<K, F> {
    fn drop(&mut self) {
        let mut streams = self.limit.streams();
        if let Entry::Occupied(mut of_key) = streams.of.entry(self.key.clone()) {
            of_key
                .get_mut()
                .retain(|stream| stream.number != self.number);
            if of_key.get().is_empty() {
                of_key.remove();
            }
        }
    }
}
