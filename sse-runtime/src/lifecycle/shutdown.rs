//! [`Shutdown`]: ends all streams within the drain time when the server shuts down.

use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::http::{Extensions, Request};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_layer::Layer;
use tower_service::Service;

use crate::{config::OnShutdown, lifecycle::stop_signal::signal_stop};

/// Ends the event streams when the server shuts down. A `Shutdown` is both the layer that notifies
/// the streams and the signal that shuts the server down.
///
/// [`serve`](crate::serve()) and [`Server`](crate::Server) have a built-in shutdown. With
/// `axum::serve`, use a `Shutdown`: axum's graceful shutdown waits for every response to end, and
/// an event stream may never end by itself.
///
/// ```no_run
/// use axum::Router;
/// use sse_runtime::{SseRouterExt, Shutdown, Stream, sse_endpoint};
///
/// # #[sse_endpoint("/clock")]
/// # async fn clock() -> impl Stream<Item = u8> { yield_!(1) }
/// #[tokio::main]
/// async fn main() -> std::io::Result<()> {
///     let shutdown = Shutdown::new();
///     let app = Router::new().sse(clock).layer(shutdown.clone());
///     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
///     let stop = shutdown.clone();
///     let serving = axum::serve(listener, app).with_graceful_shutdown(async move {
///         stop.on_signal().await.expect("failed to register the signal handlers");
///     });
///     tokio::select! {
///         served = serving => served?,
///         // axum also waits forever for an incomplete request, and ignores a second Ctrl-C.
///         () = shutdown.over() => {}
///     }
///     // Otherwise, close hooks that are still running are dropped when `main` returns.
///     shutdown.closed().await;
///     Ok(())
/// }
/// ```
///
/// During the shutdown, each stream ends at a random moment within the drain time so that the
/// clients do not all reconnect at the same time. With `on_shutdown = "finish"`, a stream runs
/// until its generator finishes or the drain time elapses. If a stream is closed before its
/// generator has finished, the endpoint's `on_cut` key applies. By default, a `GET` stream sends a
/// `retry` field with a random reconnection time and ends cleanly, and any other response is
/// [aborted](crate::how_a_stream_ends).
///
/// If a request passes through several `Shutdown` layers, only the innermost one applies. A
/// readiness probe can check [`has_begun`](Self::has_begun). There is no drain delay, because
/// `axum::serve` stops accepting connections as soon as the signal arrives. In Kubernetes, requests
/// keep arriving for a moment after the signal, so prefer [`Server`](crate::Server) there.
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<State>);

#[derive(Debug)]
struct State {
    begun: CancellationToken,
    drain: Duration,
    /// Set before `begun` is cancelled.
    draining: OnceLock<Draining>,
    /// The tasks that the server waits for. See [`closing`](Shutdown::closing).
    closing: TaskTracker,
    /// Whether the drain time is over. Once it is, the server closes any streams that are still
    /// open.
    is_over: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct Draining {
    since: Instant,
    within: Duration,
}

impl Shutdown {
    /// Creates a `Shutdown` with a drain time of 20 seconds.
    pub fn new() -> Self {
        Self::within(DRAIN)
    }

    /// Creates a `Shutdown` with the given drain time. All streams end within that time.
    pub fn within(drain: Duration) -> Self {
        Self(Arc::new(State {
            begun: CancellationToken::new(),
            drain,
            draining: OnceLock::new(),
            closing: TaskTracker::new(),
            is_over: AtomicBool::new(false),
        }))
    }

    /// Begins the shutdown. Does nothing if the shutdown has already begun.
    pub fn begin(&self) {
        self.begin_within(self.0.drain);
    }

    pub(crate) fn begin_within(&self, within: Duration) {
        let (since, within) = (Instant::now(), within.min(LONGEST));
        self.0.draining.get_or_init(|| Draining { since, within });
        signal_stop(&self.0.begun);
    }

    /// Returns whether the shutdown has begun.
    pub fn has_begun(&self) -> bool {
        self.0.begun.is_cancelled()
    }

    /// Waits until the shutdown begins.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn begun(&self) {
        self.0.begun.cancelled().await;
    }

    /// Waits for SIGINT or SIGTERM (Ctrl-C on platforms without signals) and begins the shutdown.
    /// Also returns if the shutdown begins for another reason. SIGINT usually comes from a
    /// terminal, so it limits the drain time to one second.
    ///
    /// After the first call, these signals no longer terminate the process. [`over`](Self::over)
    /// waits for the next signal.
    ///
    /// # Errors
    ///
    /// Returns an error if the signal handlers cannot be registered.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it resolves does not begin the shutdown.
    pub async fn on_signal(&self) -> io::Result<()> {
        let mut signals = Signals::new()?;
        tokio::select! {
            signal = signals.next() => self.begin_within(signal.drain(self.0.drain)),
            () = self.begun() => {}
        }
        Ok(())
    }

    /// Waits for the shutdown to begin, then waits until 2.5 seconds after the drain time or until
    /// the next SIGINT or SIGTERM, whichever comes first. After that, the program should stop
    /// waiting for open connections. If the signal handlers cannot be registered, this is logged and
    /// only the time limit applies.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn over(&self) {
        self.begun().await;
        let signal = async {
            match Signals::new() {
                Ok(mut signals) => drop(signals.next().await),
                Err(error) => {
                    tracing::warn!(%error, "failed to register the signal handlers; a second signal cannot end the shutdown");
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            () = sleep(self.left().saturating_add(LAST)) => {}
            () = signal => {}
        }
        self.set_over();
    }

    /// Returns a token that is cancelled when the shutdown begins. Cancelling this token does not
    /// begin the shutdown.
    pub(crate) fn child(&self) -> CancellationToken {
        self.0.begun.child_token()
    }

    /// Waits up to 2 seconds for the close hooks of all ended streams. Call this method last: any
    /// hooks still running when the program exits are dropped.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn closed(&self) {
        self.closed_within(HOOKS).await;
    }

    pub(crate) async fn closed_within(&self, limit: Duration) {
        self.0.closing.close();
        if timeout(limit, self.0.closing.wait()).await.is_err() {
            tracing::warn!("abandoning close hooks and HTTP/2 streams that did not finish in time");
        }
    }

    /// Returns the tracker for the tasks that run close hooks and those that drive HTTP/2 streams.
    /// Both kinds of tasks can outlive the connection.
    pub(crate) fn closing(&self) -> &TaskTracker {
        &self.0.closing
    }

    /// Returns whether the drain time is over. If it is, streams are dropped because the server
    /// closes them, not because their clients disconnect.
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_over.load(Ordering::Relaxed)
    }

    pub(crate) fn set_over(&self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }

    /// Returns the remaining drain time.
    pub(crate) fn left(&self) -> Duration {
        let draining = self.0.draining.get();
        draining.map_or(Duration::ZERO, |Draining { since, within }| {
            within.saturating_sub(since.elapsed())
        })
    }

    /// Returns the time at which a stream ends. If the shutdown has not begun, this is the current
    /// time.
    pub(crate) fn end(&self, on_shutdown: OnShutdown) -> Instant {
        let Some(Draining { since, within }) = self.0.draining.get().copied() else {
            return Instant::now();
        };
        match on_shutdown {
            OnShutdown::Close => since + within.mul_f64(SPREAD * fastrand::f64()),
            OnShutdown::Finish => since + within,
        }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

/// Notifies the streams of every request that passes through this layer.
impl<S> Layer<S> for Shutdown {
    type Service = ShutdownService<S>;

    fn layer(&self, inner: S) -> ShutdownService<S> {
        ShutdownService {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service of the [`Shutdown`] layer.
#[derive(Clone, Debug)]
pub struct ShutdownService<S> {
    inner: S,
    layer: Shutdown,
}

impl<S, B> Service<Request<B>> for ShutdownService<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        self.layer.add_to(request.extensions_mut());
        self.inner.call(request)
    }
}

impl Shutdown {
    /// Adds this shutdown to a request's extensions so that the request's stream can find it.
    pub(crate) fn add_to(&self, extensions: &mut Extensions) {
        extensions.insert(self.clone());
    }
}

/// The default drain time.
pub(crate) const DRAIN: Duration = Duration::from_secs(20);

/// How long connections may stay open after the drain time. A response whose stream has ended may
/// still wait for the rest of a request body that the handler did not read. This duration is longer
/// than that wait.
pub(crate) const LAST: Duration = Duration::from_millis(2_500);

/// The maximum drain time after SIGINT. This limit is short because a person at a terminal is
/// waiting.
const DRAIN_OF_PERSON: Duration = Duration::from_secs(1);

/// The maximum drain time, which keeps deadlines within the range of timers.
pub(crate) const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How long the last streams' close hooks may run. This value and the other defaults keep the whole
/// shutdown within Kubernetes's default grace period.
pub(crate) const HOOKS: Duration = Duration::from_secs(2);

/// The fraction of the drain time over which the streams end. The remaining time allows the
/// streams' last bytes to arrive.
const SPREAD: f64 = 0.8;

/// The reconnection time if the endpoint does not set `retry`. This is the default in browsers.
const RETRY: Duration = Duration::from_secs(3);

/// Returns a random reconnection time for a client that the server disconnects. The result is
/// between 0.5 and 1.5 times the endpoint's reconnection time.
pub(crate) fn retry(of_endpoint: Option<Duration>) -> Duration {
    of_endpoint.unwrap_or(RETRY).mul_f64(0.5 + fastrand::f64())
}

/// A listener for SIGINT and SIGTERM, or `None` if listening is disabled.
pub(crate) struct Signals(Option<Listening>);

struct Listening {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

/// A signal to shut the server down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGINT, sent by a person at a terminal.
    Interrupt,
    /// SIGTERM, from a supervisor.
    #[cfg_attr(not(unix), allow(dead_code, reason = "there is no SIGTERM"))]
    Terminate,
}

impl Signal {
    /// Returns the drain time that applies after this signal.
    pub(crate) fn drain(self, drain: Duration) -> Duration {
        match self {
            Self::Interrupt => drain.min(DRAIN_OF_PERSON),
            Self::Terminate => drain,
        }
    }
}

impl Signals {
    /// Listens for both signals. After this call, the signals no longer terminate the process.
    pub(crate) fn new() -> io::Result<Self> {
        #[cfg(unix)]
        let listening = {
            use tokio::signal::unix::{SignalKind, signal};
            Listening {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
            }
        };
        #[cfg(not(unix))]
        let listening = Listening {};
        Ok(Self(Some(listening)))
    }

    /// Returns a listener that never receives a signal.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) -> Signal {
        match &mut self.0 {
            Some(listening) => listening.next().await,
            None => std::future::pending().await,
        }
    }
}

impl Listening {
    #[cfg(unix)]
    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        }
    }

    /// Waits for the next Ctrl-C.
    #[cfg(not(unix))]
    async fn next(&mut self) -> Signal {
        if tokio::signal::ctrl_c().await.is_err() {
            // Ctrl-C cannot be received, so no signal will ever arrive.
            std::future::pending::<()>().await;
        }
        Signal::Interrupt
    }
}
