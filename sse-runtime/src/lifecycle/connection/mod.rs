//! [`Connection`]: the handler's view of a stream, including the tasks and hooks tied to it.

pub(crate) mod response_headers;
mod tasks;

use std::{
    fmt,
    future::{Future, pending},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{Extensions, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use tokio::{runtime::Handle, time::sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{
    config::OnShutdown,
    lifecycle::{
        close_reason::CloseReason, close_signal::CloseSignal, deadline::IntoDeadline,
        shutdown::Shutdown, stop_signal::signal_stop,
    },
};
use tasks::Attached;

/// A marker held until all parts of the stream have been dropped. The test client waits for it to
/// be dropped.
#[derive(Clone, Debug)]
pub(crate) struct Alive(
    #[allow(dead_code, reason = "the receiver is notified when it is dropped")]
    pub(crate)  tokio::sync::mpsc::Sender<()>,
);

/// The handler's view of its stream: the stream's client, and the tasks and hooks that end with the
/// stream. This extractor works only in event endpoints.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use sse_runtime::{Connection, Stream, sse_endpoint};
/// use tokio::sync::mpsc;
///
/// #[sse_endpoint("/ticks")]
/// async fn ticks(connection: Connection) -> impl Stream<Item = u64> {
///     let (sender, mut receiver) = mpsc::channel(8);
///     // Unlike a task started with `tokio::spawn`, this task ends with the stream.
///     connection.spawn(async move {
///         for tick in 0.. {
///             tokio::time::sleep(Duration::from_secs(1)).await;
///             if sender.send(tick).await.is_err() {
///                 break;
///             }
///         }
///     });
///     let id = connection.id();
///     connection.on_close(move |reason| async move {
///         tracing::info!(id, %reason, "the stream has closed");
///     });
///     // For example, the expiry of the client's token.
///     connection.expires_at(SystemTime::now() + Duration::from_secs(3600));
///     while let Some(tick) = receiver.recv().await {
///         yield_!(tick);
///     }
/// }
/// ```
///
/// Clones refer to the same connection. Holding a `Connection` does not keep the stream or its
/// tasks alive.
#[derive(Clone)]
pub struct Connection(Arc<Inner>);

struct Inner {
    id: u64,
    peer: Option<SocketAddr>,
    /// Cancelled when the stream must end, either because of [`Connection::close`] or because the
    /// server shuts down. A child of the shutdown's token.
    ending: CancellationToken,
    shutdown: Option<Shutdown>,
    /// The runtime that handled the request. The stream's tasks and hooks run on this runtime, even
    /// if the body is dropped elsewhere.
    runtime: Option<Handle>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The reason passed to [`Connection::close`], or `None` if that method has not been called.
    close_requested: Option<CloseReason>,
    /// The reason why the stream ended, or `None` if it has not ended yet.
    ended: Option<CloseReason>,
    /// Whether the response has a head. If so, it is too late to set headers.
    has_head: bool,
    /// Boxed because few streams start a task or a hook, or set a header.
    attached: Option<Box<Attached>>,
    /// Cancelled when the stream has ended. Created when a task first waits for the stream to end.
    over: Option<CancellationToken>,
    /// Created during a shutdown, when the stream starts to wait for its scheduled end. Cancelled
    /// if [`Connection::close`] is called before the stream ends.
    close_requested_in_shutdown: Option<CancellationToken>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Connection {
    pub(crate) fn new(extensions: &Extensions) -> Self {
        let shutdown: Option<Shutdown> = extensions.get().cloned();
        let peer = extensions.get::<ConnectInfo<SocketAddr>>();
        Self(Arc::new(Inner {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            peer: peer.map(|ConnectInfo(peer)| *peer),
            ending: shutdown
                .as_ref()
                .map_or_else(CancellationToken::new, Shutdown::child),
            shutdown,
            runtime: Handle::try_current().ok(),
            state: Mutex::default(),
        }))
    }

    /// Returns a number that is unique to this stream within the process.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// Returns the client's address, as reported by the socket. With a reverse proxy, this is the
    /// proxy's address. Returns `None` if the address is unknown, for example in an in-process test
    /// or under plain `axum::serve` without `into_make_service_with_connect_info`.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.0.peer
    }

    /// Waits until the stream has ended, for any reason. Use this method in tasks that clean up
    /// after the stream, and in tasks that were not started with [`spawn`](Self::spawn).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn closed(&self) {
        self.over().cancelled().await;
    }

    /// Spawns a task that ends with the stream. When the stream ends, the task is aborted at its
    /// next `.await` and joined before the close hooks run. A task that never awaits delays the
    /// hooks until it ends. A panic in the task is logged and ends the stream, just as a panic in
    /// the generator would. Before the stream ends, it sends an event named after the endpoint's
    /// `error_event` so that the client knows that events from this task are missing. If the stream
    /// has already ended, the task does not start.
    ///
    /// # Panics
    ///
    /// Panics if the request was not handled on a tokio runtime.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.start(task);
    }

    /// Runs `hook` after the stream has ended, for any reason, and its generator and tasks have
    /// been dropped. If the stream has already ended, the hook runs immediately. Hooks run one
    /// after another in a separate task, and each may take up to 5 seconds. They run in the
    /// stream's span, so their log lines contain the stream's fields. A panic in a hook is logged.
    ///
    /// If a hook reports a number, such as the number of tokens sent, share the number with the
    /// function, for example in an `Arc<AtomicU64>`. An `async move` closure that captures an
    /// integer copies its value when `on_close` is called.
    ///
    /// Call this method before the function's first `.await`, so that the hook also runs if the
    /// client disconnects during that `.await`. If the function returns an error instead of a
    /// stream, the reason is [`CloseReason::Rejected`], or [`CloseReason::Failed`] if the
    /// endpoint's `head_after` has elapsed.
    pub fn on_close<F, Fut>(&self, hook: F)
    where
        F: FnOnce(CloseReason) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.add_hook(Box::new(move |reason| Box::pin(hook(reason))));
    }

    /// Ends the stream when the client's credentials expire. `when` is a
    /// [`SystemTime`](std::time::SystemTime), such as the expiry time of a token, or an
    /// [`Instant`](std::time::Instant). If this method is called several times, the earliest time
    /// applies.
    ///
    /// The client receives a `close` event with `{"reason":"expired"}`. Without this event, a
    /// script could not tell why the stream ended: your auth layer presumably answers the browser's
    /// next request with a `401`, but scripts cannot see that status.
    pub fn expires_at(&self, when: impl IntoDeadline) {
        let when = when.instant();
        self.close_after(CloseReason::Expired, async move {
            match when {
                Some(when) => sleep_until(when).await,
                // The time is too far in the future for a timer.
                None => pending().await,
            }
        });
    }

    /// Ends the stream when `revoked` resolves, for example because the user has logged out or lost
    /// a permission. `revoked` is a future, or a
    /// [`CancellationToken`](tokio_util::sync::CancellationToken) from tokio-util 0.7, which ends
    /// the stream when it is cancelled.
    ///
    /// The client receives a `close` event with `{"reason":"revoked"}`. A browser reconnects
    /// anyway, so reject its next request in a layer in front of the endpoint. `revoked` must also
    /// resolve if access was revoked before this call. After subscribing to changes, check the
    /// current state again.
    ///
    /// ```
    /// # use sse_runtime::{Connection, Stream, sse_endpoint};
    /// # use axum::Extension;
    /// use tokio::sync::watch;
    ///
    /// #[sse_endpoint("/mail")]
    /// async fn mail(
    ///     connection: Connection,
    ///     Extension(session): Extension<watch::Receiver<bool>>,
    /// ) -> impl Stream<Item = String> {
    ///     // Resolves immediately if the session is already over.
    ///     let mut session = session;
    ///     connection.close_when(async move { drop(session.wait_for(|over| *over).await) });
    ///     # yield_!(String::new());
    /// }
    /// ```
    ///
    /// With a token, the code that ends a session can end all of its streams:
    ///
    /// ```
    /// # use sse_runtime::{Connection, Stream, sse_endpoint};
    /// # use axum::Extension;
    /// use tokio_util::sync::CancellationToken;
    ///
    /// #[sse_endpoint("/mail")]
    /// async fn mail(
    ///     connection: Connection,
    ///     Extension(session): Extension<CancellationToken>,
    /// ) -> impl Stream<Item = String> {
    ///     connection.close_when(session);
    ///     # yield_!(String::new());
    /// }
    /// ```
    pub fn close_when<S, K>(&self, revoked: S)
    where
        S: CloseSignal<K>,
    {
        self.close_after(CloseReason::Revoked, revoked.signalled());
    }

    fn close_after<F>(&self, reason: CloseReason, when: F)
    where
        F: Future + Send + 'static,
    {
        let close = CloseOnDrop {
            // A weak reference, because the connection owns the task and a strong reference would
            // create a cycle.
            connection: Arc::downgrade(&self.0),
            reason,
        };
        self.spawn(async move {
            // The guard closes the stream even if the future panics. A panic must not extend the
            // client's access.
            let _close = close;
            when.await;
        });
    }

    /// Ends the stream because a newer one replaces it.
    pub(crate) fn supersede(&self) {
        self.close(CloseReason::Superseded);
    }

    pub(crate) fn downgrade(&self) -> WeakConnection {
        WeakConnection(Arc::downgrade(&self.0))
    }

    fn close(&self, reason: CloseReason) {
        let mut state = self.state();
        state.close_requested.get_or_insert(reason);
        let close_requested_in_shutdown = state.close_requested_in_shutdown.clone();
        drop(state);
        signal_stop(&self.0.ending);
        if let Some(token) = close_requested_in_shutdown {
            signal_stop(&token);
        }
    }

    /// Returns a token that is cancelled when [`close`](Self::close) is called, even if a shutdown
    /// has already begun.
    pub(crate) fn close_requested_in_shutdown(&self) -> CancellationToken {
        let mut state = self.state();
        let is_requested = state.close_requested.is_some();
        let token = state.close_requested_in_shutdown.get_or_insert_default();
        if is_requested {
            signal_stop(token);
        }
        token.clone()
    }

    /// Waits until the stream must end and returns the reason. Used before the response begins.
    /// After that, the response body waits instead.
    pub(crate) async fn until_end(&self, on_shutdown: OnShutdown) -> CloseReason {
        self.ending().cancelled().await;
        if let (None, Some(shutdown)) = (self.close_requested(), self.shutdown()) {
            tokio::select! {
                () = sleep_until(shutdown.end(on_shutdown)) => {}
                () = self.close_requested_in_shutdown().cancelled_owned() => {}
            }
        }
        self.close_requested().unwrap_or(CloseReason::Shutdown)
    }

    /// Returns the reason passed to [`close`](Self::close), or `None` if that method has not been
    /// called. A shutdown does not call `close`.
    pub(crate) fn close_requested(&self) -> Option<CloseReason> {
        self.state().close_requested
    }

    pub(crate) fn ending(&self) -> CancellationToken {
        self.0.ending.clone()
    }

    pub(crate) fn shutdown(&self) -> Option<&Shutdown> {
        self.0.shutdown.as_ref()
    }

    fn over(&self) -> CancellationToken {
        let mut state = self.state();
        let has_ended = state.ended.is_some();
        let over = state.over.get_or_insert_with(|| {
            let over = CancellationToken::new();
            if has_ended {
                over.cancel();
            }
            over
        });
        over.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic cannot leave the state inconsistent, because no update can panic halfway through.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A weak reference to a connection. It can still be used to end the connection's stream.
pub(crate) struct WeakConnection(Weak<Inner>);

impl WeakConnection {
    /// Ends the stream because a newer one replaces it, unless the stream has already ended.
    pub(crate) fn supersede(&self) {
        if let Some(inner) = self.0.upgrade() {
            Connection(inner).supersede();
        }
    }
}

/// A guard that ends its stream when dropped, unless the stream has already ended.
struct CloseOnDrop {
    connection: Weak<Inner>,
    reason: CloseReason,
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        if let Some(inner) = self.connection.upgrade() {
            Connection(inner).close(self.reason);
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.id())
            .field("peer", &self.peer())
            .finish_non_exhaustive()
    }
}

impl<S: Sync> FromRequestParts<S> for Connection {
    type Rejection = MissingConnection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, MissingConnection> {
        parts.extensions.get().cloned().ok_or(MissingConnection(()))
    }
}

/// The rejection returned if a handler that isn't an event endpoint extracts a [`Connection`] or
/// [`ResponseHeaders`](crate::ResponseHeaders). It is converted into a `500` response.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("`Connection` and `ResponseHeaders` are only available in `#[sse_endpoint]` functions")]
pub struct MissingConnection(());

impl IntoResponse for MissingConnection {
    fn into_response(self) -> Response {
        tracing::error!(error = %self, "failed to extract the stream's connection");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}
