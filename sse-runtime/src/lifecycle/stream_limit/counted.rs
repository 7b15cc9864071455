//! [`Total`] and [`PerKey`]: limits that count streams.

use std::{
    any::type_name,
    collections::{HashMap, hash_map::Entry},
    fmt,
    hash::Hash,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::http::request::Parts;

use super::{
    StreamLimit,
    newest::NewestWins,
    permit::{Full, Held, Permit, Permits},
};

pub(super) struct Total {
    max: usize,
    open: AtomicUsize,
}

impl Total {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            open: AtomicUsize::new(0),
        }
    }
}

impl Permits for Total {
    fn take(self: Arc<Self>, _: &Parts) -> Option<Result<Permit, Full>> {
        let more = |open: usize| (open < self.max).then_some(open + 1);
        // Relaxed ordering is enough, because the count does not synchronize other memory.
        let taken = self
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        Some(match taken {
            Ok(_) => Ok(Permit(Arc::new(OfTotal(self)))),
            Err(_) => Err(Full::Total),
        })
    }

    fn newest_wins(self: Arc<Self>) -> Option<Arc<dyn Permits>> {
        None
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamLimit")
            .field("max", &self.max)
            .field("open", &self.open.load(Ordering::Relaxed))
            .finish()
    }
}

struct OfTotal(Arc<Total>);

impl Held for OfTotal {
    fn is_of(&self, limit: &StreamLimit, _: &Parts) -> bool {
        limit.is(&self.0)
    }
}

impl Drop for OfTotal {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) struct PerKey<K, F> {
    pub(super) max: usize,
    pub(super) key: F,
    /// The number of streams per key. Keys without streams are absent.
    open: Mutex<HashMap<K, usize>>,
}

impl<K, F> PerKey<K, F> {
    pub(super) fn new(max: usize, key: F) -> Self {
        Self {
            max,
            key,
            open: Mutex::default(),
        }
    }
}

impl<K, F> Permits for PerKey<K, F>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    F: Fn(&Parts) -> Option<K> + Send + Sync + 'static,
{
    fn take(self: Arc<Self>, request: &Parts) -> Option<Result<Permit, Full>> {
        let key = (self.key)(request)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.get(&key).copied().unwrap_or(0);
        if count >= self.max {
            return Some(Err(Full::Key));
        }
        open.insert(key.clone(), count + 1);
        drop(open);
        Some(Ok(Permit(Arc::new(OfKey { limit: self, key }))))
    }

    fn newest_wins(self: Arc<Self>) -> Option<Arc<dyn Permits>> {
        Some(Arc::new(NewestWins::new(self)))
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamLimit")
            .field("max", &self.max)
            .field("key", &type_name::<K>())
            .finish_non_exhaustive()
    }
}

struct OfKey<K: Hash + Eq + Clone, F> {
    limit: Arc<PerKey<K, F>>,
    key: K,
}

impl<K, F> Held for OfKey<K, F>
where
    K: Hash + Eq + Clone + Send + Sync,
    F: Fn(&Parts) -> Option<K> + Send + Sync,
{
    fn is_of(&self, limit: &StreamLimit, request: &Parts) -> bool {
        limit.is(&self.limit) && (self.limit.key)(request).is_some_and(|key| key == self.key)
    }
}

impl<K: Hash + Eq + Clone, F> Drop for OfKey<K, F> {
    fn drop(&mut self) {
        let open = self.limit.open.lock();
        let mut open = open.unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = open.entry(self.key.clone()) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}
