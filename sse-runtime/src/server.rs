//! [`Server`]: how a server starts, and how it stops.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, http::StatusCode, routing::get};

use crate::{
    Bind, Shutdown,
    serve::{EachConnection, NoDelay},
    shutdown::{DRAIN, Signal, Signals},
};

/// How long a server that is told to stop accepts connections still, since load balancers hear of it later.
const DRAIN_DELAY: Duration = Duration::from_secs(5);

/// A person at a terminal does not wait that long.
const DRAIN_OF_PERSON: Duration = Duration::from_secs(1);

/// What is left at the end of the drain time has this long to go, and is then left behind: longer than a stream lingers
/// for a request body that nobody reads.
const LAST: Duration = Duration::from_millis(2_500);

/// Serves `app` on `addr`: the short form of [`Server`], with all its defaults.
///
/// `addr` is an address, as in `"127.0.0.1:3000"`, or a [`TcpListener`](tokio::net::TcpListener) that is bound
/// already.
///
/// # Errors
///
/// Where the address cannot be bound. A connection that fails ends alone.
///
/// # Cancel safety
///
/// Dropping it stops accepting. Connections that are open go on until the runtime stops, as with `axum::serve`.
///
/// ```no_run
/// # use axum::Router;
/// # async fn run() -> std::io::Result<()> {
/// sse_runtime::serve("127.0.0.1:3000", Router::new()).await
/// # }
/// ```
pub async fn serve(addr: impl Bind, app: Router) -> io::Result<()> {
    Server::new(app).serve(addr).await
}

/// axum's server, with what event streams need of a socket, and with an end that streams survive.
///
/// It is `axum::serve` with `TCP_NODELAY`, so that no event waits in the kernel for the one after it, and with sockets
/// that say when an event is on its way, so that `flush = "each"` means what it says over HTTP/1. Handlers can
/// extract `ConnectInfo<SocketAddr>`. With the feature `http2` it speaks HTTP/2 without TLS as well.
///
/// # How it stops
///
/// After SIGTERM it is not [`ready`](Self::ready), goes on accepting for the [`drain_delay`](Self::drain_delay), since load
/// balancers hear of it later, and then drains: each stream ends at a moment of its own within the
/// [`drain`](Self::drain) time, after a `retry` of its own, so that clients do not come back in step; streams with
/// `on_shutdown = "finish"` run on until they end by themselves, or the drain time does. Their close hooks
/// have 2 s more. The defaults fit Kubernetes' 30 s. After SIGINT, which is a person at a terminal, it does not delay, and drains within a second. A second signal ends
/// it at once.
///
/// ```no_run
/// # use {axum::Router, sse_runtime::Server, std::time::Duration};
/// # async fn run(app: Router) -> std::io::Result<()> {
/// Server::new(app)
///     .ready("/readyz")
///     .drain_delay(Duration::from_secs(5))
///     .drain(Duration::from_secs(20))
///     .serve("127.0.0.1:3000")
///     .await
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a server does nothing until it serves"]
pub struct Server {
    app: Router,
    is_ready: Arc<AtomicBool>,
    drain_delay: Duration,
    drain: Duration,
}

impl Server {
    /// A server of `app`, with a drain delay of 5 s and a drain time of 20 s.
    pub fn new(app: Router) -> Self {
        Self {
            app,
            is_ready: Arc::new(AtomicBool::new(true)),
            drain_delay: DRAIN_DELAY,
            drain: DRAIN,
        }
    }

    /// Answers `GET` on this path with `200`, and with `503` once the server is told to stop: a readiness probe.
    ///
    /// # Panics
    ///
    /// Where the app has this path already, as [`Router::route`] does.
    pub fn ready(mut self, path: &str) -> Self {
        let is_ready = Arc::clone(&self.is_ready);
        let probe = get(async move || {
            if is_ready.load(Ordering::Relaxed) {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            }
        });
        self.app = self.app.route(path, probe);
        self
    }

    /// How long it goes on accepting after SIGTERM; 5 s by default.
    pub fn drain_delay(mut self, delay: Duration) -> Self {
        self.drain_delay = delay;
        self
    }

    /// Over how long its streams end, after the delay; 20 s by default.
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Serves on `addr` until a signal.
    ///
    /// # Errors
    ///
    /// Where the address cannot be bound, or the system lets nobody listen for signals. A connection that fails ends
    /// alone.
    ///
    /// # Cancel safety
    ///
    /// Dropping it stops accepting. Connections that are open go on until the runtime stops, as with `axum::serve`.
    pub async fn serve(self, addr: impl Bind) -> io::Result<()> {
        let Self {
            app,
            is_ready,
            drain_delay,
            drain,
        } = self;
        let listener = NoDelay(addr.bind().await?);
        let mut signals = Signals::new()?;
        let shutdown = Shutdown::within(drain);
        let app = EachConnection::new(app.layer(shutdown.clone()));
        let begun = {
            let shutdown = shutdown.clone();
            async move { shutdown.begun().await }
        };
        let serving = axum::serve(listener, app).with_graceful_shutdown(begun);
        let (first, told) = tokio::sync::oneshot::channel();
        let second_signal = async {
            let _ = first.send(signals.next().await);
            signals.next().await;
        };
        let stopping = async {
            let drain = match told.await {
                Ok(Signal::Terminate) => {
                    is_ready.store(false, Ordering::Relaxed);
                    tokio::time::sleep(drain_delay).await;
                    drain
                }
                // A person, or nobody who will ever say more.
                Ok(Signal::Interrupt) | Err(_) => drain.min(DRAIN_OF_PERSON),
            };
            shutdown.begin_within(drain);
            tokio::time::sleep(drain.saturating_add(LAST)).await;
            tracing::warn!(
                ?drain,
                "connections were still open after the drain time, and are left behind"
            );
        };
        let stopped = async {
            tokio::select! {
                served = serving => served?,
                () = stopping => {}
            }
            shutdown.closed().await;
            Ok(())
        };
        tokio::select! {
            stopped = stopped => stopped,
            () = second_signal => Ok(()),
        }
    }
}
