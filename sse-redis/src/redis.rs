//! [`Redis`]: a connection to a Redis server that stores topics.

use std::{fmt, sync::Arc};

use sse_runtime::topic::Node;
use tokio::sync::mpsc;

use crate::{
    RedisBuilder, RedisError, config::Config, connect, engine::RedisEngine, session, shared::Shared,
};

/// A connection to a Redis server that stores topics. Pass it to
/// [`Topic::open`](sse_runtime::Topic::open).
///
/// ```no_run
/// use axum::{Router, http::StatusCode, routing::get};
/// use sse_redis::Redis;
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
/// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
/// let redis = Redis::open("redis://app:secret@redis.internal:6379").await?;
/// let prices: Topic<u64> = Topic::open(&redis, "prices").await?;
///
/// let is_ready = async move || match redis.is_healthy() {
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
/// All clones refer to the same connection. It is closed once all clones, all of its topics and all
/// of their subscriptions have been dropped.
#[derive(Clone)]
pub struct Redis {
    node: Node,
    shared: Arc<Shared>,
}

impl Redis {
    /// Connects to the server at `url`, such as `redis://user:password@host:port/database`. All
    /// parts except the host are optional. Use `rediss://` for TLS, which requires the `tls`
    /// feature, and `redis+unix:///path/to/socket` for a Unix domain socket.
    ///
    /// If sentinels monitor the server, pass their addresses and the master's name, as in
    /// `redis+sentinel://user:password@host:port,host:port/master-name/database`. Only the hosts
    /// and the master's name are required. See [Sentinel](crate#sentinel).
    ///
    /// # Errors
    ///
    /// Returns an error if the URL is not valid, if the server cannot be reached within 5 seconds,
    /// rejects the password, is too old, belongs to a cluster or is a replica, or if the user is not
    /// allowed to call a command that the engine needs. If the URL names sentinels, also returns an
    /// error if the sentinels cannot be reached, do not know the master's name, or disagree. See
    /// [`RedisError`].
    ///
    /// # Panics
    ///
    /// Panics if called outside of a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the connection is closed.
    pub async fn open(url: impl AsRef<str>) -> Result<Self, RedisError> {
        Self::builder().open(url).await
    }

    /// Returns a builder for a connection with custom settings.
    pub fn builder() -> RedisBuilder {
        RedisBuilder::new()
    }

    /// Returns whether Redis has responded to a heartbeat within the time set by
    /// [`unhealthy_after`](RedisBuilder::unhealthy_after) (10 seconds by default). The response of
    /// a server that has become a replica does not count. Call this method in the endpoint that
    /// your load balancer or orchestrator checks.
    pub fn is_healthy(&self) -> bool {
        self.shared.is_healthy()
    }

    pub(crate) async fn start(config: Config) -> Result<Self, RedisError> {
        let shared = Arc::new(Shared::new(config));
        let opened = connect::connect(&shared.config).await?;
        let opened = connect::check_rights(&shared, opened).await?;
        let (requests, received) = mpsc::unbounded_channel();
        tokio::spawn(session::run(Arc::clone(&shared), opened, received));
        let engine = RedisEngine::new(Arc::clone(&shared), requests);
        Ok(Self {
            node: Node::new(Arc::new(engine)),
            shared,
        })
    }
}

impl AsRef<Node> for Redis {
    fn as_ref(&self) -> &Node {
        &self.node
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("address", &self.shared.config.address())
            .field("is_healthy", &self.is_healthy())
            .finish_non_exhaustive()
    }
}
