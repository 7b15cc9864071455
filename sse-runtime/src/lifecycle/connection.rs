//! [`Connection`]: a stream as its handler sees it, and all that ends with it.

use std::{
    fmt,
    future::Future,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{Extensions, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use pin_project_lite::pin_project;
use tokio::{
    runtime::Handle,
    task::{JoinError, JoinHandle},
    time::{sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use crate::{
    config::OnShutdown,
    lifecycle::{
        close_reason::CloseReason, deadline::IntoDeadline, shutdown::Shutdown,
        stop_signal::signal_stop,
    },
};

/// Held as long as there is something of the stream, for the test client to wait for.
#[derive(Clone, Debug)]
pub(crate) struct Alive(
    #[allow(dead_code, reason = "dropping it is the message")]
    pub(crate)  tokio::sync::mpsc::Sender<()>,
);

/// The stream that a handler serves: who it is for, and what ends with it. It is an extractor, of endpoints alone.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use sse_runtime::{Connection, Stream, sse_endpoint};
/// use tokio::sync::mpsc;
///
/// #[sse_endpoint("/ticks")]
/// async fn ticks(connection: Connection) -> impl Stream<Item = u64> {
///     let (sender, mut receiver) = mpsc::channel(8);
///     // Unlike a task of `tokio::spawn`, it ends with the stream.
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
///         tracing::info!(id, %reason, "somebody has seen enough");
///     });
///     // As a token has it, that the client came with.
///     connection.expires_at(SystemTime::now() + Duration::from_secs(3600));
///     while let Some(tick) = receiver.recv().await {
///         yield_!(tick);
///     }
/// }
/// ```
///
/// A clone is the same connection. To hold one keeps nothing alive: the stream ends all the same, with all that it started.
#[derive(Clone)]
pub struct Connection(Arc<Inner>);

struct Inner {
    id: u64,
    peer: Option<SocketAddr>,
    /// Cancelled when the stream is to end: by the server's shutdown, whose child it is, or by [`Connection::close`].
    ending: CancellationToken,
    shutdown: Option<Shutdown>,
    /// Where the stream was asked for: its tasks and hooks run there, wherever its body is dropped.
    runtime: Option<Handle>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Why the stream is to end, where that has been said already.
    asked: Option<CloseReason>,
    /// Why it has ended.
    ended: Option<CloseReason>,
    /// In a box, as what few streams have.
    started: Option<Box<Started>>,
    /// Made for the first who waits for it.
    over: Option<CancellationToken>,
    /// Made for a stream that waits for its moment in a shutdown, and may still be asked to end before.
    asked_in_shutdown: Option<CancellationToken>,
}

/// What ends with the stream.
#[derive(Default)]
struct Started {
    tasks: Vec<JoinHandle<()>>,
    /// How many of the tasks are being polled.
    polling: usize,
    /// One of the tasks has panicked.
    has_panicked: bool,
    /// Of the stream that waits for tasks that are being polled.
    until_polled: Option<Waker>,
    hooks: Vec<Hook>,
}

type Hook = Box<dyn FnOnce(CloseReason) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// How long a close hook may take.
const HOOK_LIMIT: Duration = Duration::from_secs(5);

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

    /// A number that no other stream of this process has.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// The client's address, as the socket has it: behind a proxy it is the proxy's. `None` without one, as in an in-process
    /// test, and under plain `axum::serve` without `into_make_service_with_connect_info`.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.0.peer
    }

    /// Waits until the stream has ended, for whatever reason: for tasks that end by themselves, and for those that others
    /// than the stream started.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn closed(&self) {
        self.over().cancelled().await;
    }

    /// Starts a task that ends with the stream: it is aborted at its next `.await`, and joined before the close hooks
    /// run; one that never awaits holds the hooks up until it ends. A panic in it is logged, and ends
    /// the stream as a panic of the generator does, after an event with the endpoint's `error_event`:
    /// what the task would have sent is missing. After the stream's end nothing is started.
    ///
    /// # Panics
    ///
    /// Where the request was not handled in a tokio runtime.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(runtime) = &self.0.runtime else {
            panic!("a task of a stream wants the tokio runtime that its request was handled in");
        };
        if self.state().ended.is_some() {
            return;
        }
        // Not under the lock: a runtime that shuts down drops the task here, and its destructors may come back.
        let task = Watched {
            task,
            connection: Arc::downgrade(&self.0),
        };
        let spawned = runtime.spawn(task.in_current_span());
        let mut state = self.state();
        if state.ended.is_some() {
            drop(state);
            spawned.abort();
            return;
        }
        let tasks = &mut state.started.get_or_insert_default().tasks;
        let finished: Vec<_> = tasks.extract_if(.., |task| task.is_finished()).collect();
        tasks.push(spawned);
        drop(state);
        for mut task in finished {
            let mut cx = Context::from_waker(Waker::noop());
            if let Poll::Ready(joined) = Pin::new(&mut task).poll(&mut cx) {
                log_panic(self.id(), "a task of a stream", joined);
            }
        }
    }

    /// Runs `hook` once, when the stream has ended, for whatever reason, and when the generator and the stream's tasks are
    /// gone. Hooks run one after the other, in a task of their own, each for at most 5 s; a panic in one is logged.
    /// After the end it runs at once.
    pub fn on_close<F, Fut>(&self, hook: F)
    where
        F: FnOnce(CloseReason) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let hook: Hook = Box::new(move |reason| Box::pin(hook(reason)));
        let mut state = self.state();
        match state.ended {
            None => state.started.get_or_insert_default().hooks.push(hook),
            Some(reason) => {
                drop(state);
                self.finish(reason, Vec::new(), vec![hook], None, Span::current());
            }
        }
    }

    /// Ends the stream when the client's credentials run out: at a [`SystemTime`](std::time::SystemTime), as tokens have it, or at an
    /// [`Instant`](std::time::Instant). Of several moments the first counts.
    ///
    /// The client is told by `event: close` with `{"reason":"expired"}`, since a script does not see the `401` that
    /// follows.
    pub fn expires_at(&self, when: impl IntoDeadline) {
        let when = when.instant();
        self.close_after(CloseReason::Expired, async move {
            match when {
                Some(when) => sleep_until(when).await,
                // Beyond what a clock can show.
                None => std::future::pending().await,
            }
        });
    }

    /// Ends the stream when `revoked` is ready: a logout, a right that was taken away.
    ///
    /// The client is told by `event: close` with `{"reason":"revoked"}`. A browser comes back all the same: what it is to be
    /// refused by stands before the endpoint. What may have happened before this is called is for the future to know: ask
    /// for the state once more when it is subscribed to.
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
    ///     // Ready as well where the session was over before.
    ///     let mut session = session;
    ///     connection.close_when(async move { drop(session.wait_for(|over| *over).await) });
    ///     # yield_!(String::new());
    /// }
    /// ```
    pub fn close_when<F>(&self, revoked: F)
    where
        F: Future + Send + 'static,
    {
        self.close_after(CloseReason::Revoked, revoked);
    }

    fn close_after<F>(&self, reason: CloseReason, when: F)
    where
        F: Future + Send + 'static,
    {
        let close = CloseOnDrop {
            // Not the connection itself, which owns the task.
            connection: Arc::downgrade(&self.0),
            reason,
        };
        self.spawn(async move {
            // Also where the future panics: who cannot tell any more whether a client may stay lets nobody stay.
            let _close = close;
            when.await;
        });
    }

    /// A newer stream takes its place.
    pub(crate) fn supersede(&self) {
        self.close(CloseReason::Superseded);
    }

    pub(crate) fn downgrade(&self) -> WeakConnection {
        WeakConnection(Arc::downgrade(&self.0))
    }

    fn close(&self, reason: CloseReason) {
        let mut state = self.state();
        state.asked.get_or_insert(reason);
        let asked_in_shutdown = state.asked_in_shutdown.clone();
        drop(state);
        signal_stop(&self.0.ending);
        if let Some(asked) = asked_in_shutdown {
            signal_stop(&asked);
        }
    }

    /// Waits until none of its tasks is in the middle of a poll, and says whether one has panicked. The
    /// locals of a task that panics are dropped first, and with them perhaps the sender whose receiver
    /// the generator reads.
    pub(crate) fn poll_tasks(&self, cx: &Context<'_>) -> Poll<bool> {
        let mut state = self.state();
        let Some(started) = &mut state.started else {
            return Poll::Ready(false);
        };
        if started.polling > 0 && !started.has_panicked {
            started.until_polled = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(started.has_panicked)
    }

    fn task_is_polled(&self) {
        let mut state = self.state();
        // After the end there is nobody to be told.
        if state.ended.is_none() {
            state.started.get_or_insert_default().polling += 1;
        }
    }

    fn task_was_polled(&self, has_panicked: bool) {
        let mut state = self.state();
        let Some(started) = &mut state.started else {
            return;
        };
        started.polling -= 1;
        started.has_panicked |= has_panicked;
        let waker = started.until_polled.take();
        drop(state);
        if has_panicked {
            self.close(CloseReason::Panicked);
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Cancelled when a stream is asked to end, by something else than the shutdown that has begun.
    pub(crate) fn asked_in_shutdown(&self) -> CancellationToken {
        let mut state = self.state();
        let is_asked = state.asked.is_some();
        let token = state.asked_in_shutdown.get_or_insert_default();
        if is_asked {
            signal_stop(token);
        }
        token.clone()
    }

    /// Waits until the stream is to end, and says why: what stands before the response has no body to watch for it.
    pub(crate) async fn until_end(&self, on_shutdown: OnShutdown) -> CloseReason {
        self.ending().cancelled().await;
        if let (None, Some(shutdown)) = (self.asked(), self.shutdown()) {
            tokio::select! {
                () = sleep_until(shutdown.end(on_shutdown)) => {}
                () = self.asked_in_shutdown().cancelled_owned() => {}
            }
        }
        self.asked().unwrap_or(CloseReason::Shutdown)
    }

    /// Why the stream was asked to end, by something else than the shutdown.
    pub(crate) fn asked(&self) -> Option<CloseReason> {
        self.state().asked
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

    /// Ends all that the stream started.
    pub(crate) fn end(&self, reason: CloseReason, alive: Option<Alive>, span: &Span) {
        let mut state = self.state();
        state.ended = Some(reason);
        let started = state.started.take();
        let over = state.over.clone();
        drop(state);
        if let Some(over) = over {
            over.cancel();
        }
        if let Some(started) = started {
            let Started { tasks, hooks, .. } = *started;
            self.finish(reason, tasks, hooks, alive, span.clone());
        }
    }

    /// Joins the tasks, then runs the hooks, in a task that the server waits for.
    fn finish(
        &self,
        reason: CloseReason,
        tasks: Vec<JoinHandle<()>>,
        hooks: Vec<Hook>,
        alive: Option<Alive>,
        span: Span,
    ) {
        let id = self.id();
        for task in &tasks {
            task.abort();
        }
        let Some(runtime) = &self.0.runtime else {
            if !hooks.is_empty() {
                tracing::warn!(
                    connection = id,
                    %reason,
                    hooks = hooks.len(),
                    "a stream ended outside of a runtime, so its close hooks do not run"
                );
            }
            return;
        };
        let finish = async move {
            for task in tasks {
                log_panic(id, "a task of a stream", task.await);
            }
            for hook in hooks {
                // A task of its own, so that a panic is its own.
                let hook = async move { hook(reason).await };
                let mut running = tokio::spawn(hook.in_current_span());
                match timeout(HOOK_LIMIT, &mut running).await {
                    Ok(joined) => log_panic(id, "a close hook", joined),
                    Err(_) => {
                        running.abort();
                        tracing::warn!(connection = id, %reason, limit = ?HOOK_LIMIT, "a close hook took too long, and is stopped");
                    }
                }
            }
            drop(alive);
        };
        let finish = finish.instrument(span);
        match self.shutdown().map(Shutdown::closing) {
            Some(closing) => drop(closing.spawn_on(finish, runtime)),
            None => drop(runtime.spawn(finish)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half way.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pin_project! {
    /// A task of a stream, whose panic is the stream's.
    struct Watched<F> {
        #[pin]
        task: F,
        // Not the connection itself, which owns the task.
        connection: Weak<Inner>,
    }
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let Some(connection) = this.connection.upgrade().map(Connection) else {
            return this.task.poll(cx);
        };
        connection.task_is_polled();
        let polled = catch_unwind(AssertUnwindSafe(|| this.task.poll(cx)));
        connection.task_was_polled(polled.is_err());
        drop(connection);
        polled.unwrap_or_else(|panic| resume_unwind(panic))
    }
}

/// A connection that others may end, and do not keep alive.
pub(crate) struct WeakConnection(Weak<Inner>);

impl WeakConnection {
    /// A newer stream takes its place, if it has not ended before.
    pub(crate) fn supersede(&self) {
        if let Some(inner) = self.0.upgrade() {
            Connection(inner).supersede();
        }
    }
}

/// Ends a stream when it is dropped, if that has not ended before.
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

fn log_panic(connection: u64, what: &str, joined: Result<(), JoinError>) {
    if let Err(error) = joined
        && error.is_panic()
    {
        tracing::error!(connection, "{what} panicked");
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

/// A handler that is no event endpoint asked for its [`Connection`]. It answers `500`.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("only an endpoint of `#[sse_endpoint]` has a `Connection`")]
pub struct MissingConnection(());

impl IntoResponse for MissingConnection {
    fn into_response(self) -> Response {
        tracing::error!(error = %self, "a handler asked for a `Connection`");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}
