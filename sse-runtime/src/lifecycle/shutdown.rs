//! [`Shutdown`]: the streams end, at spread moments, before the server does.

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

/// Ends the streams of a server that stops: a layer that tells the streams, and the signal that tells the server.
///
/// [`serve`](crate::serve()) and [`Server`](crate::Server) bring one of their own. It is for those who keep `axum::serve`,
/// whose graceful shutdown waits for every response to end, which an event stream never does by itself:
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
///     let serving = axum::serve(listener, app)
///         .with_graceful_shutdown(async move { stop.on_signal().await.unwrap_or_default() });
///     tokio::select! {
///         served = serving => served?,
///         // axum waits for half a request as well, and for ever; and for a second Ctrl-C nobody would listen.
///         () = shutdown.over() => {}
///     }
///     // The close hooks of its streams end with the program, if nobody waits for them.
///     shutdown.closed().await;
///     Ok(())
/// }
/// ```
///
/// From then on each stream ends at a moment of its own, within the drain time, so that its client does not come back in
/// step with all others. Before its end it sends a `retry`, which is its own as well. The key `on_shutdown = "finish"`
/// lets a stream run on until it ends by itself, or the drain time does. The end is a clean one on the wire.
///
/// Of several that a request goes through the innermost counts. A readiness probe asks [`has_begun`](Self::has_begun). There is no
/// drain delay: `axum::serve` accepts nobody from the signal on, so in Kubernetes [`Server`](crate::Server) serves better.
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<State>);

#[derive(Debug)]
struct State {
    begun: CancellationToken,
    drain: Duration,
    /// Set before `begun` is.
    draining: OnceLock<Draining>,
    /// What ends streams, for the server to wait for.
    closing: TaskTracker,
    /// What is open still is closed by the server.
    is_over: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct Draining {
    since: Instant,
    within: Duration,
}

impl Shutdown {
    /// One with a drain time of 20 s.
    pub fn new() -> Self {
        Self::within(DRAIN)
    }

    /// One with this drain time: how long after the shutdown began the last stream ends.
    pub fn within(drain: Duration) -> Self {
        Self(Arc::new(State {
            begun: CancellationToken::new(),
            drain,
            draining: OnceLock::new(),
            closing: TaskTracker::new(),
            is_over: AtomicBool::new(false),
        }))
    }

    /// Begins the shutdown. To begin it twice changes nothing.
    pub fn begin(&self) {
        self.begin_within(self.0.drain);
    }

    pub(crate) fn begin_within(&self, within: Duration) {
        let (since, within) = (Instant::now(), within.min(LONGEST));
        self.0.draining.get_or_init(|| Draining { since, within });
        signal_stop(&self.0.begun);
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.0.begun.is_cancelled()
    }

    /// Waits until it begins.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn begun(&self) {
        self.0.begun.cancelled().await;
    }

    /// Waits for SIGINT or SIGTERM (Ctrl-C, where there are no signals), begins the shutdown, and returns. It returns as
    /// well when the shutdown is begun elsewhere. After SIGINT, which is a person at a terminal, it drains within a second.
    ///
    /// From the first call on no signal ends the program by itself: [`over`](Self::over) hears the next.
    ///
    /// # Errors
    ///
    /// Where the system lets nobody listen for a signal.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready changes nothing.
    pub async fn on_signal(&self) -> io::Result<()> {
        let mut signals = Signals::new()?;
        tokio::select! {
            signal = signals.next() => self.begin_within(signal.drain(self.0.drain)),
            () = self.begun() => {}
        }
        Ok(())
    }

    /// Waits until the shutdown has begun, and then until 2.5 s after the end of its drain time, or until the next SIGINT or
    /// SIGTERM: when whoever still waits for a connection should wait no longer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn over(&self) {
        self.begun().await;
        let signal = async {
            match Signals::new() {
                Ok(mut signals) => drop(signals.next().await),
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep(self.left().saturating_add(LAST)) => {}
            () = signal => {}
        }
        self.set_over();
    }

    /// Cancelled when the shutdown begins, or alone.
    pub(crate) fn child(&self) -> CancellationToken {
        self.0.begun.child_token()
    }

    /// Waits until the close hooks of the streams that have ended have run, for at most 2 s: the last thing to do before the
    /// program ends, since they end with it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn closed(&self) {
        self.0.closing.close();
        if timeout(HOOKS, self.0.closing.wait()).await.is_err() {
            tracing::warn!("close hooks were still running, and are left behind");
        }
    }

    /// The tasks that run the close hooks of streams, and of HTTP/2 those that drive them, which outlive their connection.
    pub(crate) fn closing(&self) -> &TaskTracker {
        &self.0.closing
    }

    /// From here on it is the server that ends streams, and not their clients.
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_over.load(Ordering::Relaxed)
    }

    pub(crate) fn set_over(&self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }

    /// What is left of the drain time.
    pub(crate) fn left(&self) -> Duration {
        let draining = self.0.draining.get();
        draining.map_or(Duration::ZERO, |Draining { since, within }| {
            within.saturating_sub(since.elapsed())
        })
    }

    /// The moment at which a stream ends; now, where the shutdown has not begun.
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

/// Tells the streams of the requests that go through it.
impl<S> Layer<S> for Shutdown {
    type Service = ShutdownService<S>;

    fn layer(&self, inner: S) -> ShutdownService<S> {
        ShutdownService {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service of the layer [`Shutdown`].
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
    /// Lets the stream of a request find this shutdown.
    pub(crate) fn add_to(&self, extensions: &mut Extensions) {
        extensions.insert(self.clone());
    }
}

/// How long the streams of a server that stops have to end.
pub(crate) const DRAIN: Duration = Duration::from_secs(20);

/// What is left at the end of the drain time has this long to go: longer than a stream lingers for a request body that
/// nobody reads.
pub(crate) const LAST: Duration = Duration::from_millis(2_500);

/// A person at a terminal does not wait that long.
const DRAIN_OF_PERSON: Duration = Duration::from_secs(1);

/// Timers reach far, but not for ever.
pub(crate) const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How long the close hooks of the last streams have: with the rest of the defaults, less than Kubernetes gives.
const HOOKS: Duration = Duration::from_secs(2);

/// The part of the drain time over which streams end: what is left of it is for the last bytes to arrive.
const SPREAD: f64 = 0.8;

/// How long a client waits that no `retry` of its endpoint says otherwise to: what browsers do by themselves.
const RETRY: Duration = Duration::from_secs(3);

/// A `retry` for a client that is sent away: around the endpoint's own, at random.
pub(crate) fn retry(of_endpoint: Option<Duration>) -> Duration {
    of_endpoint.unwrap_or(RETRY).mul_f64(0.5 + fastrand::f64())
}

/// SIGINT and SIGTERM, unless nobody listens for them.
pub(crate) struct Signals(Option<Listening>);

struct Listening {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

/// Who wants the server to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// A person at a terminal.
    Interrupt,
    /// A supervisor.
    #[cfg_attr(not(unix), allow(dead_code, reason = "there is none"))]
    Terminate,
}

impl Signal {
    /// How long is drained after it.
    pub(crate) fn drain(self, drain: Duration) -> Duration {
        match self {
            Self::Interrupt => drain.min(DRAIN_OF_PERSON),
            Self::Terminate => drain,
        }
    }
}

impl Signals {
    /// Listens for both. The system's own reaction to them is off from now on, for as long as the process lives.
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

    /// Listens for none, and never has a next one.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// The next of them.
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

    /// The next Ctrl-C.
    #[cfg(not(unix))]
    async fn next(&mut self) -> Signal {
        if tokio::signal::ctrl_c().await.is_err() {
            // There is nothing that could be waited for.
            std::future::pending::<()>().await;
        }
        Signal::Interrupt
    }
}
