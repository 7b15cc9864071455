//! [`Shared`]: the state that a log's writer and readers share.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::{Database, ReadTransaction, ReadableDatabase as _};
use sse_runtime::topic::engine::Feed;

use crate::storage::Storage;

pub(crate) struct Shared {
    pub(crate) storage: Arc<Storage>,
    /// `None` after the writer has stopped, and while the database cannot be reopened because the
    /// disk is full.
    database: RwLock<Option<Database>>,
    is_healthy: AtomicBool,
    feed: OnceLock<Feed>,
    watched: Mutex<Watched>,
}

/// The topics that are in use, which must not be removed.
#[derive(Default)]
pub(crate) struct Watched {
    pub(crate) topics: HashSet<Arc<str>>,
    /// The topic from which the writer is removing records, if any.
    pub(crate) removing: Option<Arc<str>>,
}

impl Shared {
    pub(crate) fn new(storage: Arc<Storage>, database: Database) -> Self {
        Self {
            storage,
            database: RwLock::new(Some(database)),
            is_healthy: AtomicBool::new(true),
            feed: OnceLock::new(),
            watched: Mutex::default(),
        }
    }

    pub(crate) fn database(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn database_mut(&self) -> RwLockWriteGuard<'_, Option<Database>> {
        self.database
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a read transaction, which does not block the writer.
    pub(crate) fn begin_read(&self) -> Result<ReadTransaction, redb::Error> {
        let database = self.database();
        let database = database.as_ref().ok_or(redb::Error::DatabaseClosed)?;
        Ok(database.begin_read()?)
    }

    pub(crate) fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.is_healthy.load(Ordering::Relaxed)
    }

    pub(crate) fn set_healthy(&self, is_healthy: bool) {
        self.is_healthy.store(is_healthy, Ordering::Relaxed);
    }

    pub(crate) fn feed(&self) -> Option<&Feed> {
        self.feed.get()
    }

    pub(crate) fn set_feed(&self, feed: Feed) {
        // The node starts the engine only once.
        let _ = self.feed.set(feed);
    }
}
