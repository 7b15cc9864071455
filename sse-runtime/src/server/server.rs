//! [`Server`]: how a server starts, and how it stops.

#[cfg(feature = "tls")]
use std::path::PathBuf;
use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, http::StatusCode, routing::get};
use tokio::time::timeout;

#[cfg(feature = "tls")]
use crate::server::tls::Tls;
use crate::{
    lifecycle::{
        shutdown::{DRAIN, LAST, LONGEST, Shutdown, Signal, Signals},
        stream_limit::StreamLimit,
    },
    server::{
        connection_task::{ConnectionContext, Timeouts},
        connections::Connections,
        listener::{Bind, Listener},
    },
};

/// How long a server that is told to stop accepts connections still, since load balancers hear of it later.
const DRAIN_DELAY: Duration = Duration::from_secs(5);

/// Longer than a client that takes nothing has, which acknowledges nothing either, and would be taken for one that is gone.
const TCP_USER: Duration = Duration::from_secs(45);

/// The default of the other limits to what a client has to do: twice the default of the keep-alive.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a connection is kept for its next request: longer than load balancers keep it, which would otherwise send one
/// into a connection that is being closed.
const IDLE: Duration = Duration::from_secs(75);

/// How long connections that are closed have to drop what they hold.
const ABORT: Duration = Duration::from_millis(500);

/// Serves `app` on `addr`: the short form of [`Server`], with all its defaults.
///
/// `addr` is an address, as in `"127.0.0.1:3000"`, or a listener that is bound already: a
/// [`TcpListener`](tokio::net::TcpListener), or a `UnixListener`.
///
/// # Errors
///
/// Where the address cannot be bound. A connection that fails ends alone.
///
/// # Cancel safety
///
/// Dropping it ends all connections at once.
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

/// axum on hyper, with what event streams need of a server: a socket that sends at once, clients that are given up when they
/// are gone or stuck, room for so many streams and no more, and an end that streams survive.
///
/// It sets `TCP_NODELAY`, so that no event waits in the kernel for the one after it, and its sockets say when an event is on
/// its way, so that `flush = "each"` means what it says over HTTP/1. Handlers can extract `ConnectInfo<SocketAddr>`, but for
/// connections of a Unix socket. With the feature `http2` it speaks HTTP/2 on the same port.
///
/// # Whom it gives up
///
/// | who | after | |
/// | --- | --- | --- |
/// | a peer that has vanished, its cable cut | 45 s | [`tcp_user_timeout`](Self::tcp_user_timeout) |
/// | a client that takes nothing of what is sent | 30 s | [`send_timeout`](Self::send_timeout) |
/// | a client that does not come to the end of a request's head, or sends none | 75 s | [`header_read_timeout`](Self::header_read_timeout) |
/// | a client whose request's body does not arrive | 30 s, and more for what does | [`body_read_timeout`](Self::body_read_timeout) |
/// | a head of more than 64 KiB, or 100 fields | at once | |
///
/// A client that leaves is noticed at once, also where it has sent further requests behind the one for a stream, which
/// plain `axum::serve` notices at the next write. Of those 64 KiB are kept, and answered behind the stream; what is more is
/// thrown away, and ends the connection behind the stream, or at once where it is 8 MiB. Over HTTP/2 and where hyper has
/// [kept the stream](Self::takeover), it is not read.
///
/// # What an HTTP/2 client can cost
///
/// A connection has at most 250 open streams. The server buffers at most 1 MiB of unread data per connection, plus up to 6 MiB of
/// hyper's own overhead if the events are tiny. On top of that it buffers at most 16 KiB per stream, not counting the event
/// yielded last; the generator does not run in the meantime.
/// So an unread stream costs no more than one over HTTP/1, whatever windows its client
/// announces, and [`max_streams`](Self::max_streams) bounds the sum.
///
/// A flood of PING, SETTINGS or PRIORITY frames is answered or ignored in constant memory, and costs CPU time for as long as it lasts
/// (some 200 ns a frame). hyper has no limit to set for it: limit the rate per address in front of the server if that
/// matters.
///
/// # Small events over HTTP/2
///
/// Clients of the crate `h2`, and so `reqwest`, close a connection with all its streams (`ENHANCE_YOUR_CALM`,
/// `too_many_data_frames`) if more than about a hundred DATA frames of less than 256 bytes wait for the app to read them.
/// So once a connection has sent 48 such frames at once, or 100 per second, an event shares a frame with those that its
/// generator yields without waiting, until the frame has 256 bytes. No timer delays it. A generator that waits has its
/// events sent at once; a client that does not read such a stream still closes the connection after about a hundred of
/// them. Plain `axum::serve` sends one frame for each event with `flush = "each"`; there, use `flush = "ready"` for bursts.
///
/// # Panics of the app
///
/// A handler, extractor or layer that panics before the response breaks off its connection (over HTTP/2 its stream), and the log has an
/// `error` line with the method and the path. Under plain `axum::serve` the panic hook's message is all there is.
///
/// # How it stops
///
/// After SIGTERM it is not [`ready`](Self::ready), goes on accepting for the [`drain_delay`](Self::drain_delay), since load
/// balancers hear of it later, and then drains: each stream ends at a moment of its own within the
/// [`drain`](Self::drain) time, after a `retry` of its own, so that clients do not come back in step; streams with
/// `on_shutdown = "finish"` run on until they end by themselves, or the drain time does. Their close hooks
/// have 2 s more. The defaults fit Kubernetes' 30 s. After SIGINT, which is a person at a terminal, it does not delay, and
/// drains within a second. A second signal closes what is open; close hooks have their 2 s still.
///
/// ```no_run
/// # use {axum::Router, sse_runtime::Server, std::time::Duration};
/// # async fn run(app: Router) -> std::io::Result<()> {
/// Server::new(app)
///     .max_streams(20_000)
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
    max_streams: Option<StreamLimit>,
    timeouts: Timeouts,
    drain_delay: Duration,
    drain: Duration,
    shutdown: Option<Shutdown>,
    signals: bool,
    takeover: bool,
    #[cfg(feature = "tls")]
    tls: Option<(PathBuf, PathBuf)>,
}

impl Server {
    /// A server of `app`, with the defaults that each method names.
    pub fn new(app: Router) -> Self {
        Self {
            app,
            is_ready: Arc::new(AtomicBool::new(true)),
            max_streams: None,
            timeouts: Timeouts {
                header_read: IDLE,
                body_read: PATIENCE,
                send: PATIENCE,
                tcp_user: TCP_USER,
            },
            drain_delay: DRAIN_DELAY,
            drain: DRAIN,
            shutdown: None,
            signals: true,
            takeover: true,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Speaks TLS, and nothing else, with the certificate and the private key in these files: PEM, the server's own certificate
    /// first, then its chain. One file may hold both.
    ///
    /// The files are looked at every minute, and a certificate that was renewed is taken up without a restart, by
    /// connections that come from then on. With the feature `http2` clients can choose it in the handshake, as browsers do:
    /// its streams share one connection, where over HTTP/1 a browser has six for all its tabs.
    ///
    /// [`serve`](Self::serve) fails with a [`TlsError`](crate::TlsError) where the files cannot be used.
    ///
    /// ```no_run
    /// # use {axum::Router, sse_runtime::Server};
    /// # async fn run(app: Router) -> std::io::Result<()> {
    /// Server::new(app).tls("tls.crt", "tls.key").serve("[::]:8443").await
    /// # }
    /// ```
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub fn tls(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls = Some((cert.into(), key.into()));
        self
    }

    /// How many event streams of this server may be open at once; without this as many as the system has room for. A
    /// [`StreamLimit`] around the whole app, see there for what is said to those who find no room.
    pub fn max_streams(mut self, max: usize) -> Self {
        self.max_streams = Some(StreamLimit::new(max));
        self
    }

    /// How long a client may take nothing of what is sent to it; 30 s by default. Its stream has
    /// [`Stalled`](crate::CloseReason::Stalled) then.
    ///
    /// It counts from the moment at which the system takes no more: a client that stops reading is noticed when its own
    /// system's buffer is full, which may be some MB, and 64 KiB more (on Linux; elsewhere what the system has). Over HTTP/2
    /// it counts for the connection, and for each of its responses that the client holds back, where nothing less than 16 KiB
    /// counts as taken. Without TLS nothing less than about 32 KiB, and what the client's system makes room for at once,
    /// does so over HTTP/1: with the default a client has to read some 5 KB/s of a stream that has as much to say.
    pub fn send_timeout(mut self, limit: Duration) -> Self {
        self.timeouts.send = limit.min(LONGEST);
        self
    }

    /// How long a client may take for the head of a request, counted from the connection's beginning or from the end of the
    /// response before, so it is also how long a connection is kept that nothing is asked on; 75 s by default, since
    /// load balancers keep theirs for 60 s. Its connection is closed then.
    pub fn header_read_timeout(mut self, limit: Duration) -> Self {
        self.timeouts.header_read = limit.min(LONGEST);
        self
    }

    /// How long it is waited for the body of a request that is not answered yet; 30 s by default, and a second more for each
    /// 500 bytes that arrive. Reading it is an error then, which axum's extractors answer with `400`.
    ///
    /// The time between a client's bytes counts, and not what the handler takes between reading them.
    pub fn body_read_timeout(mut self, limit: Duration) -> Self {
        self.timeouts.body_read = limit.min(LONGEST);
        self
    }

    /// How long a peer may leave data unacknowledged, or probes where there is no data; 45 s by default. Its connection is
    /// closed then, and its streams have [`ClientGone`](crate::CloseReason::ClientGone).
    ///
    /// A client that has no room acknowledges nothing either, and answers no PING: where this limit is over before the
    /// [`send_timeout`](Self::send_timeout) is, which waits for 64 KiB to gather, it has not stalled, but is gone.
    ///
    /// Less than 1 s is 1 s. With the keep-alive of 15 s a peer that vanishes is found within a minute. Over HTTP/2 it is also asked by PINGs. The option
    /// `TCP_USER_TIMEOUT` (RFC 5482) is Linux's; elsewhere there are the probes, and for data the system's own limit.
    pub fn tcp_user_timeout(mut self, limit: Duration) -> Self {
        self.timeouts.tcp_user = limit.clamp(Duration::from_secs(1), LONGEST);
        self
    }

    /// Answers `GET` on this path, outside of all layers of the app, with `200`, and with `503` once the server is told to stop: a readiness probe.
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
        self.drain_delay = delay.min(LONGEST);
        self
    }

    /// Over how long its streams end, after the delay; 20 s by default.
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Stops the server when this shutdown begins, as well as by a signal: for programs that stop by something else. It drains
    /// without a delay then, over the time that the shutdown has.
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = Some(shutdown);
        self
    }

    /// Whether SIGINT and SIGTERM (Ctrl-C, if there are no signals) stop the server; `true` by default.
    ///
    /// Once a program has listened for a signal, that signal no longer terminates the process by default, for as long as the
    /// process lives. With `true`, this applies from the moment the server starts, even after the server has ended. Programs
    /// that keep running after their server, or handle signals themselves, should pass `false` and stop the server with a
    /// [`shutdown`](Self::shutdown):
    ///
    /// ```no_run
    /// # use {axum::Router, sse_runtime::{Server, Shutdown}};
    /// # async fn run(app: Router, stop: impl Future<Output = ()>) -> std::io::Result<()> {
    /// let shutdown = Shutdown::new();
    /// let server = Server::new(app).signals(false).shutdown(shutdown.clone());
    /// tokio::try_join!(server.serve("127.0.0.1:3000"), async {
    ///     stop.await;
    ///     shutdown.begin();
    ///     Ok(())
    /// })?;
    /// # Ok(()) }
    /// ```
    pub fn signals(mut self, signals: bool) -> Self {
        self.signals = signals;
        self
    }

    /// Whether event streams over HTTP/1 are driven on their socket, without hyper, for as long as they last; `true` by default.
    ///
    /// A quiet stream costs about a quarter of the memory then, and an event less time. What a client sees is the same: turn it
    /// off to find out whether something that you see comes from there.
    pub fn takeover(mut self, takeover: bool) -> Self {
        self.takeover = takeover;
        self
    }

    /// Serves on `addr` until a [signal](Self::signals), or its [shutdown](Self::shutdown).
    ///
    /// # Errors
    ///
    /// Where the address cannot be bound, the certificate cannot be used, or the system lets nobody listen for signals. A connection that fails ends
    /// alone.
    ///
    /// # Cancel safety
    ///
    /// Dropping it ends all connections at once.
    ///
    /// # On several addresses
    ///
    /// A server listens on one. For a port and a Unix socket make two, of one router: both hear the signals. Each has its own
    /// [`max_streams`](Self::max_streams); a [`StreamLimit`] on the router counts for both. Whoever makes a Unix socket
    /// removes its file, before and after.
    ///
    /// ```no_run
    /// # use {axum::Router, sse_runtime::Server, tokio::net::UnixListener};
    /// # #[cfg(unix)]
    /// # async fn run(app: Router) -> std::io::Result<()> {
    /// let socket = UnixListener::bind("/run/app.sock")?;
    /// tokio::try_join!(
    ///     Server::new(app.clone()).ready("/readyz").serve("[::]:8080"),
    ///     Server::new(app).serve(socket),
    /// )?;
    /// # Ok(()) }
    /// ```
    pub async fn serve(self, addr: impl Bind) -> io::Result<()> {
        #[cfg_attr(
            not(feature = "tls"),
            expect(unused_mut, reason = "nothing is waited for")
        )]
        let mut signals = if self.signals {
            Signals::new()?
        } else {
            Signals::none()
        };
        #[cfg(feature = "tls")]
        let tls = match self.tls.clone() {
            Some((cert, key)) => tokio::select! {
                biased;
                tls = Tls::load_on_thread(cert, key) => Some(tls?),
                // The files may be on a file system that does not answer.
                _ = signals.next() => return Ok(()),
                () = self.shutdown_begun() => return Ok(()),
            },
            None => None,
        };
        let listener = addr.bind().await?;
        tracing::info!(address = %listener, "listening");
        self.serve_on(
            listener,
            signals,
            #[cfg(feature = "tls")]
            tls,
        )
        .await;
        Ok(())
    }

    /// Waits until the shutdown of the caller's begins; for ever, if there is none.
    #[cfg(feature = "tls")]
    async fn shutdown_begun(&self) {
        match &self.shutdown {
            Some(shutdown) => shutdown.begun().await,
            None => std::future::pending().await,
        }
    }

    /// Serves what has been made ready for it. In a box, since it is compiled here then, and not with each program.
    fn serve_on(
        self,
        listener: Listener,
        mut signals: Signals,
        #[cfg(feature = "tls")] tls: Option<Tls>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let shutdown = self
                .shutdown
                .unwrap_or_else(|| Shutdown::within(self.drain));
            let connections = Connections::new(ConnectionContext {
                app: self.app,
                max_streams: self.max_streams,
                timeouts: self.timeouts,
                shutdown: shutdown.clone(),
                takeover: self.takeover,
                #[cfg(feature = "tls")]
                tls,
            });

            let stopping = async {
                let signal = signals.next().await;
                if signal == Signal::Terminate {
                    tracing::info!(delay = ?self.drain_delay, "told to stop, and not ready any more");
                    self.is_ready.store(false, Ordering::Relaxed);
                    tokio::select! {
                        () = tokio::time::sleep(self.drain_delay) => {}
                        // A second one does not wait.
                        _ = signals.next() => return,
                    }
                }
                shutdown.begin_within(signal.drain(self.drain));
                signals.next().await;
            };
            let serving = async {
                tokio::select! {
                    never = connections.accept(&listener) => match never {},
                    () = shutdown.begun() => {}
                }
                // Whoever comes now is for another server.
                drop(listener);
                self.is_ready.store(false, Ordering::Relaxed);
                let drain = shutdown.left();
                let open = connections.count();
                tracing::info!(connections = open, ?drain, "draining");
                let closed = connections.closed();
                timeout(drain.saturating_add(LAST), closed).await.is_ok()
            };
            let all_closed = tokio::select! {
                all_closed = serving => all_closed,
                () = stopping => false,
            };
            if !all_closed {
                tracing::warn!(
                    connections = connections.count(),
                    "connections are closed that were still open after the drain time, or at the second signal"
                );
                // What was told them is lost, but their streams end, and their hooks run. One that blocks its thread is not
                // waited for.
                shutdown.set_over();
                connections.abort();
                let _ = timeout(ABORT, connections.closed()).await;
            }
            shutdown.closed().await;
            tracing::info!("stopped");
        })
    }
}
