//! [`LogBuilder`]: configures and opens a log.

use std::{io, path::Path, sync::Arc, time::Duration};

use redb::{Database, StorageBackend};
use tokio::task::spawn_blocking;

use crate::{Log, LogError, open, storage::Storage, writer::Settings};

/// Opens a [`Log`] with custom settings. See [`Log::builder`].
///
/// ```
/// use std::time::Duration;
/// use sse_log::Log;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # std::env::set_current_dir(&directory)?;
/// let log = Log::builder()
///     .lock_timeout(Duration::from_secs(60))
///     .max_event_bytes(64 * 1024)
///     .open("ticker.redb")
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `open` is called"]
pub struct LogBuilder {
    lock_timeout: Duration,
    settings: Settings,
}

impl LogBuilder {
    pub(crate) fn new() -> Self {
        Self {
            lock_timeout: Duration::from_secs(10),
            settings: Settings {
                max_event_bytes: 1024 * 1024,
                compact_after: Duration::from_secs(30),
                sweep_interval: Duration::from_secs(60),
            },
        }
    }

    /// Sets the maximum time that [`open`](Self::open) waits while another process has the file
    /// open. The default is 10 seconds. If the next deployment starts before the previous one has
    /// stopped, set this to at least the time that your server takes to shut down.
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// Sets the maximum size of an event, in bytes. The default is 1 MiB. Publishing a larger event
    /// returns [`PublishError::TooLarge`](sse_runtime::topic::PublishError::TooLarge).
    pub fn max_event_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_event_bytes = bytes;
        self
    }

    /// Sets how long the log waits after the last append before it compacts the file. The default
    /// is 30 seconds.
    #[doc(hidden)]
    pub fn compact_after(mut self, idle: Duration) -> Self {
        self.settings.compact_after = idle;
        self
    }

    /// Sets the interval at which the log looks for topics to remove. The default is a minute.
    #[doc(hidden)]
    pub fn sweep_interval(mut self, interval: Duration) -> Self {
        self.settings.sweep_interval = interval;
        self
    }

    /// Opens the log in the file at `path`, and creates the file if it does not exist.
    ///
    /// # Errors
    ///
    /// Returns an error under the same conditions as [`Log::open`].
    ///
    /// # Panics
    ///
    /// Panics if called outside of a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the log is not opened.
    pub async fn open(self, path: impl AsRef<Path>) -> Result<Log, LogError> {
        let path: Arc<Path> = path.as_ref().into();
        // The thread stops waiting for the lock when this future is dropped.
        let is_waited_for = Arc::new(());
        let waiting = Arc::downgrade(&is_waited_for);
        let (opening, timeout) = (Arc::clone(&path), self.lock_timeout);
        let opened = spawn_blocking(move || {
            open::open_file(&opening, timeout, || waiting.strong_count() == 0)
        });
        let opened = opened.await;
        drop(is_waited_for);
        self.finish(&path, opened)
    }

    /// Opens a log on a storage back end that simulates failures.
    ///
    /// # Errors
    ///
    /// Returns an error under the same conditions as [`Log::open`].
    #[doc(hidden)]
    pub async fn open_backend(self, backend: impl StorageBackend) -> Result<Log, LogError> {
        let opened = spawn_blocking(move || open::open_backend(Box::new(backend)));
        self.finish(&Path::new("<back end>").into(), opened.await)
    }

    fn finish(
        self,
        path: &Arc<Path>,
        opened: Result<Result<(Arc<Storage>, Database), LogError>, tokio::task::JoinError>,
    ) -> Result<Log, LogError> {
        let to_error = |source| LogError::Io {
            path: path.to_path_buf(),
            source,
        };
        let opened = opened.map_err(|error| to_error(io::Error::other(error)))?;
        let (storage, database) = opened?;
        let started = Log::start(Arc::clone(path), storage, database, self.settings);
        started.map_err(to_error)
    }
}
