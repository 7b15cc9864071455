//! [`Log`]: a file that stores topics.

use std::{fmt, io, path::Path, sync::Arc, thread};

use redb::Database;
use sse_runtime::topic::Node;

use crate::{
    LogBuilder, LogError,
    engine::LogEngine,
    shared::Shared,
    storage::Storage,
    writer::{Settings, Writer},
};

/// A file that stores topics. Pass it to [`Topic::open`](sse_runtime::Topic::open).
///
/// ```
/// use axum::{Router, http::StatusCode, routing::get};
/// use sse_log::Log;
/// use sse_runtime::{LastEventId, SseRouterExt, Stream, Topic, axum::extract::State, sse_endpoint};
/// # use sse_runtime::axum;
///
/// #[sse_endpoint("/prices")]
/// async fn price_updates(
///     State(prices): State<Topic<u64>>,
///     last: LastEventId,
/// ) -> impl Stream<Item = u64> {
///     yield_all!(prices.subscribe(last));
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # std::env::set_current_dir(&directory)?;
/// let log = Log::open("ticker.redb").await?;
/// let prices: Topic<u64> = Topic::open(&log, "prices").await?;
///
/// let is_ready = async move || match log.is_healthy() {
///     true => StatusCode::OK,
///     false => StatusCode::SERVICE_UNAVAILABLE,
/// };
/// let app: Router = Router::new()
///     .sse(price_updates)
///     .with_state(prices)
///     .route("/readyz", get(is_ready));
/// # Ok(()) }
/// ```
///
/// All clones refer to the same log. The file is closed once all clones, all of the log's topics and
/// all of their subscriptions have been dropped.
#[derive(Clone)]
pub struct Log {
    node: Node,
    shared: Arc<Shared>,
    path: Arc<Path>,
}

impl Log {
    /// Opens the log in the file at `path`, and creates the file if it does not exist. If another
    /// process has the file open, the call waits for up to 10 seconds.
    ///
    /// # Errors
    ///
    /// Returns an error if the file is not a log, is damaged, has a newer format, remains locked by
    /// another process, or cannot be read or written. See [`LogError`].
    ///
    /// # Panics
    ///
    /// Panics if called outside of a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the log is not opened.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, LogError> {
        Self::builder().open(path).await
    }

    /// Returns a builder for a log with custom settings.
    pub fn builder() -> LogBuilder {
        LogBuilder::new()
    }

    /// Returns whether the log can store events. Returns `false` while the disk is full, and
    /// permanently after the disk has failed. Call this method in the endpoint that your load
    /// balancer or orchestrator checks.
    pub fn is_healthy(&self) -> bool {
        self.shared.is_healthy()
    }

    /// Starts the writer and the node.
    pub(crate) fn start(
        path: Arc<Path>,
        storage: Arc<Storage>,
        database: Database,
        settings: Settings,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(storage, database));
        let (commands, received) = std::sync::mpsc::channel();
        let writer = Writer::new(Arc::clone(&shared), received, settings);
        thread::Builder::new()
            .name("sse-log".to_owned())
            .spawn(move || writer.run())?;
        let engine = LogEngine::new(Arc::clone(&shared), commands);
        Ok(Self {
            node: Node::new(Arc::new(engine)),
            shared,
            path,
        })
    }
}

impl AsRef<Node> for Log {
    fn as_ref(&self) -> &Node {
        &self.node
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("path", &self.path)
            .field("is_healthy", &self.is_healthy())
            .finish_non_exhaustive()
    }
}
