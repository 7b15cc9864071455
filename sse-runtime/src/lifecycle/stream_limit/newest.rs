//! [`NewestWins`]: a per-key limit that ends the oldest stream to make room for a new one.

use std::{
    any::type_name,
    collections::{HashMap, VecDeque, hash_map::Entry},
    fmt,
    hash::Hash,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::http::request::Parts;

use super::{
    StreamLimit,
    counted::PerKey,
    permit::{Full, Held, Permit, Permits},
};
use crate::lifecycle::connection::{Connection, WeakConnection};

pub(super) struct NewestWins<K, F> {
    /// The original limit, which provides the key function and the maximum.
    limit: Arc<PerKey<K, F>>,
    streams: Mutex<Streams<K>>,
}

struct Streams<K> {
    /// The next stream's number.
    next: u64,
    /// The streams per key, oldest first. Keys without streams are absent.
    of: HashMap<K, VecDeque<Stream>>,
}

struct Stream {
    number: u64,
    connection: Option<WeakConnection>,
    /// Whether the stream's response has begun. Until it has, the request may still be rejected, so
    /// the stream does not end an older one yet.
    has_begun: bool,
    /// The stream's permits from other limits. A stream that replaces this one may take them over.
    permits: Vec<Permit>,
    /// The streams whose permits this stream has taken over. Those streams end when this stream
    /// begins. Until then, this stream shares its permits with them, and no other stream can take
    /// over their permits.
    replaces: Vec<u64>,
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

    /// Returns the streams that will end once `newest`, the newest stream, begins. There are at
    /// most two: the oldest one that has not begun, and the oldest one that has. Streams whose
    /// permits another stream has taken over are skipped.
    fn ends_for<'a>(&self, newest: u64, streams: &'a VecDeque<Stream>) -> Vec<&'a Stream> {
        let older = || streams.iter().filter(|stream| stream.number != newest);
        let is_replaced = |stream: &Stream, except: Option<u64>| {
            older()
                .filter(|other| Some(other.number) != except)
                .any(|other| other.replaces.contains(&stream.number))
        };
        let pending = older()
            .find(|stream| !stream.has_begun)
            .filter(|_| older().filter(|stream| !stream.has_begun).count() >= self.limit.max)
            .filter(|pending| !is_replaced(pending, None));
        // The newest stream inherits the permits taken over by the pending stream, so the streams
        // that the pending stream was going to replace are not skipped.
        let except = pending.map(|pending| pending.number);
        let begun = older()
            .find(|stream| stream.has_begun && !is_replaced(stream, except))
            .filter(|_| older().count() >= self.limit.max);
        pending.into_iter().chain(begun).collect()
    }

    /// Removes and returns the oldest stream with the given value of `has_begun` if the number of
    /// such streams exceeds the maximum.
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

/// Ends the removed streams. Must not be called while the lock is held, because ending a stream
/// wakes tasks.
fn supersede(streams: impl IntoIterator<Item = Stream>) {
    for stream in streams {
        if let Some(connection) = stream.connection {
            connection.supersede();
        }
    }
}

impl<K, F> Permits for NewestWins<K, F>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    F: Fn(&Parts) -> Option<K> + Send + Sync + 'static,
{
    fn take(self: Arc<Self>, request: &Parts) -> Option<Result<Permit, Full>> {
        let key = (self.limit.key)(request)?;
        let mut streams = self.streams();
        let number = streams.next;
        streams.next += 1;
        let of_key = streams.of.entry(key.clone()).or_default();
        of_key.push_back(Stream {
            number,
            connection: None,
            has_begun: false,
            permits: Vec::new(),
            replaces: Vec::new(),
        });
        drop(streams);
        Some(Ok(Permit(Arc::new(OfNewest {
            limit: self,
            key,
            number,
        }))))
    }

    fn newest_wins(self: Arc<Self>) -> Option<Arc<dyn Permits>> {
        Some(self)
    }

    fn is_newest_wins(&self) -> bool {
        true
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamLimit")
            .field("max", &self.limit.max)
            .field("key", &type_name::<K>())
            .field("newest_wins", &true)
            .finish_non_exhaustive()
    }
}

/// A stream's permit. If the stream is superseded, the permit passes to another stream.
struct OfNewest<K: Hash + Eq + Clone, F> {
    limit: Arc<NewestWins<K, F>>,
    key: K,
    number: u64,
}

impl<K, F> OfNewest<K, F>
where
    K: Hash + Eq + Clone,
{
    /// Calls `change` with two arguments: all streams that share this stream's key, and this
    /// stream's index among them. Returns `None` if the stream has been superseded.
    fn change<R>(&self, change: impl FnOnce(&mut VecDeque<Stream>, usize) -> R) -> Option<R> {
        let mut streams = self.limit.streams();
        let of_key = streams.of.get_mut(&self.key)?;
        let index = of_key
            .iter()
            .position(|stream| stream.number == self.number)?;
        Some(change(of_key, index))
    }
}

impl<K, F> Held for OfNewest<K, F>
where
    K: Hash + Eq + Clone + Send + Sync,
    F: Send + Sync,
{
    fn bind(&self, connection: &Connection) {
        let weak = connection.downgrade();
        let bound = self.change(|streams, index| streams[index].connection = Some(weak));
        if bound.is_none() {
            connection.supersede();
        }
    }

    fn begin(&self) {
        let ended = self.change(|streams, index| {
            streams[index].has_begun = true;
            let replaces = mem::take(&mut streams[index].replaces);
            let replaced = |stream: &Stream| replaces.contains(&stream.number);
            let mut ended = Vec::new();
            while let Some(index) = streams.iter().position(replaced) {
                ended.extend(streams.remove(index));
            }
            ended.extend(self.limit.take_oldest(streams, true));
            ended
        });
        supersede(ended.into_iter().flatten());
    }

    fn take_over(&self, limit: &StreamLimit, request: &Parts) -> Option<Permit> {
        let ending = self.change(|streams, _| {
            let ending = self.limit.ends_for(self.number, streams).into_iter();
            let permits = ending.map(|stream| (stream.number, stream.permits.clone()));
            permits.collect::<Vec<_>>()
        })?;
        // The lock must not be held here, because the user's key function is called.
        let (replaced, permit) = ending.into_iter().find_map(|(number, permits)| {
            let permit = permits
                .into_iter()
                .find(|permit| permit.0.is_of(limit, request))?;
            Some((number, permit))
        })?;
        self.change(|streams, index| streams[index].replaces.push(replaced))?;
        Some(permit)
    }

    fn admit(&self, permits: &[Permit]) {
        let oldest = self.change(|streams, index| {
            streams[index].permits = permits.to_vec();
            let oldest = self.limit.take_oldest(streams, false)?;
            // The permits taken over by `oldest` now belong to this stream but are still shared
            // with the streams that `oldest` was going to replace.
            if let Some(newest) = streams.back_mut()
                && newest.replaces.contains(&oldest.number)
            {
                newest.replaces.extend(&oldest.replaces);
            }
            Some(oldest)
        });
        supersede(oldest.flatten());
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
