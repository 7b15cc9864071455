//! [`Server`]: starts a server and shuts it down.

#[cfg(feature = "tls")]
use std::path::PathBuf;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, http::StatusCode, routing::get};

#[cfg(feature = "tls")]
use crate::server::tls::Tls;
use crate::{
    lifecycle::{
        shutdown::{LONGEST, Shutdown, Signals},
        stream_limit::StreamLimit,
    },
    server::{
        connection_task::Timeouts,
        listener::{Bind, Listener},
        shutdown_times::ShutdownTimes,
    },
};

/// How long a peer may leave data unacknowledged. This limit is longer than the default send
/// timeout, because a client that stops reading also stops acknowledging data. With a shorter
/// limit, such a client would be mistaken for one that has vanished.
const TCP_USER: Duration = Duration::from_secs(45);

/// The default for both the send timeout and the body read timeout: twice the default keep-alive
/// interval.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long an idle connection is kept open for its next request. Load balancers usually close idle
/// connections earlier, so they do not send requests on a connection that the server is about to
/// close.
const IDLE: Duration = Duration::from_secs(75);

/// Serves `app` on `addr` with the default settings of a [`Server`].
///
/// `addr` is an address, such as `"127.0.0.1:3000"`, or a bound
/// [`TcpListener`](tokio::net::TcpListener) or `UnixListener`.
///
/// # Errors
///
/// Returns an error if the address cannot be bound, or if the process cannot listen for signals. An
/// error on one connection does not affect the others.
///
/// # Cancel safety
///
/// Dropping the future closes all connections immediately.
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

/// A server for axum apps with event streams, built on hyper. It sends data immediately,
/// disconnects clients that have vanished or stalled, can limit the number of open streams, and
/// ends streams gracefully when it shuts down.
///
/// The server sets `TCP_NODELAY` so that the kernel never holds back an event to wait for the next
/// one. When an event has reached the kernel, the server notifies the event's stream. Over HTTP/1,
/// `flush = "each"` relies on this notification. Handlers can extract `ConnectInfo<SocketAddr>`,
/// except on connections over a Unix socket. With the `http2` feature, the server also speaks
/// HTTP/2 on the same port.
///
/// # Timeouts and limits
///
/// The server disconnects these clients:
///
/// | client | after | setting |
/// | --- | --- | --- |
/// | a peer that has vanished, for example because a cable was cut | 45 s | [`tcp_user_timeout`](Self::tcp_user_timeout) |
/// | a client that stops reading | 30 s | [`send_timeout`](Self::send_timeout) |
/// | a client that does not send a request, or sends only part of a request head | 75 s | [`header_read_timeout`](Self::header_read_timeout) |
/// | a client that does not finish sending a request body | 30 s, plus 1 s per 500 bytes received | [`body_read_timeout`](Self::body_read_timeout) |
/// | a client that sends a request head of more than 64 KiB or 100 fields | immediately | |
///
/// The server notices a disconnect immediately, even if the client has pipelined more requests
/// after the request for a stream. In that case, plain `axum::serve` notices the disconnect only at
/// the next write. Up to 64 KiB of pipelined requests are buffered and served once the stream has
/// ended. Any excess is discarded, and the connection is closed once the stream has ended or 8 MiB
/// has been discarded. Over HTTP/2, or if hyper [drives the stream](Self::bypass_hyper), the excess
/// is not read at all.
///
/// # Memory and CPU time per HTTP/2 client
///
/// A connection can have at most 250 open streams. The server buffers at most 1 MiB of unread data
/// per connection, plus up to 6 MiB of hyper's own overhead if the events are tiny. Each stream
/// adds at most 16 KiB, not counting the last event yielded. A generator does not run while its
/// stream's buffer is full. Therefore, an unread stream needs no more memory than it would over
/// HTTP/1, regardless of the window sizes announced by the client.
/// [`max_streams`](Self::max_streams) bounds the total.
///
/// A flood of PING, SETTINGS or PRIORITY frames is handled in constant memory and costs about 200
/// ns of CPU time per frame. hyper has no setting to limit such floods. If a flood is a concern,
/// limit the rate per client address in front of the server.
///
/// # Small events over HTTP/2
///
/// Clients that use the `h2` crate, such as `reqwest`, close a connection and all its streams if
/// more than about a hundred DATA frames of less than 256 bytes have piled up unread. The error is
/// `ENHANCE_YOUR_CALM` (`too_many_data_frames`). Therefore, once a connection has carried a burst
/// of 48 such frames, or 100 such frames per second, the server starts to combine events. From then
/// on, events that a generator yields without waiting in between share a frame until the frame
/// reaches 256 bytes. No timer delays the frame. If the generator waits between events, each event
/// is still sent immediately in its own frame. A client that uses `h2` but does not read these
/// frames still closes the connection after about a hundred of them. Under plain `axum::serve`,
/// `flush = "each"` sends one frame per event, so use `flush = "ready"` for bursts.
///
/// # Panics in the app
///
/// If a handler, extractor or layer panics before it returns a response, the server logs the
/// request's method and path at the `error` level. The server then closes the connection or, over
/// HTTP/2, resets the stream. Plain `axum::serve` does not log a panic, so the panic hook's message
/// is the only record of the panic.
///
/// # Graceful shutdown
///
/// After SIGTERM, the [readiness probe](Self::readiness_path) begins to fail. The server keeps
/// accepting connections for the [`drain_delay`](Self::drain_delay), because load balancers take a
/// moment to notice the failing probe. It then drains its streams. Each stream ends at a random
/// moment within the [`drain`](Self::drain) time, so that clients do not all reconnect at the same
/// time. An `EventSource` first receives a `retry` field with a random reconnection time. Streams
/// with `on_shutdown = "finish"` run until they finish or the drain time is over. Close hooks then
/// get another 2 seconds. With the default settings, the whole shutdown takes at most the 30
/// seconds that Kubernetes allows by default. If the platform allows a different time, pass it to
/// [`grace`](Self::grace). After SIGINT, which usually comes from a terminal, the server skips the
/// delay and drains within a second. A second signal closes all open connections, but their close
/// hooks still run, for up to 2 seconds by default.
///
/// ```no_run
/// # use {axum::Router, sse_runtime::Server, std::time::Duration};
/// # async fn run(app: Router) -> std::io::Result<()> {
/// Server::new(app)
///     .max_streams(20_000)
///     .readiness_path("/readyz")
///     .grace(Duration::from_secs(30))
///     .serve("127.0.0.1:3000")
///     .await
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a server does nothing until `serve` is called"]
pub struct Server {
    pub(super) app: Router,
    pub(super) is_ready: Arc<AtomicBool>,
    pub(super) max_streams: Option<StreamLimit>,
    pub(super) timeouts: Timeouts,
    pub(super) shutdown_times: ShutdownTimes,
    pub(super) shutdown: Option<Shutdown>,
    pub(super) signals: bool,
    pub(super) takeover: bool,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<(PathBuf, PathBuf)>,
}

impl Server {
    /// Creates a server for `app` with the defaults documented for each method.
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
            shutdown_times: ShutdownTimes::default(),
            shutdown: None,
            signals: true,
            takeover: true,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Serves only over TLS, with the certificate and the private key in these PEM files. `cert`
    /// contains the server's own certificate, followed by its chain. A single file may contain both
    /// the certificates and the key.
    ///
    /// The server checks the files every minute. After a renewal, new connections use the new
    /// certificate without a restart of the server. With the `http2` feature, clients can choose
    /// HTTP/2 in the handshake, as browsers do. Over HTTP/2, all of a browser's streams share one
    /// connection. Over HTTP/1, each stream needs its own connection, and a browser opens at most
    /// six connections across all its tabs.
    ///
    /// [`serve`](Self::serve) fails with a [`TlsError`](crate::server::TlsError) if the files cannot be
    /// used.
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

    /// Sets how many event streams may be open at the same time. Unlimited by default. The limit is
    /// enforced by a [`StreamLimit`] around the whole app; see its documentation for the response
    /// to requests over the limit.
    pub fn max_streams(mut self, max: usize) -> Self {
        self.max_streams = Some(StreamLimit::new(max));
        self
    }

    /// Sets how long a client may stop reading before its stream is closed with
    /// [`Stalled`](crate::CloseReason::Stalled). The default is 30 seconds.
    ///
    /// The timeout starts when the kernel stops accepting data. By then, the client's receive
    /// buffer, which may hold several MB, is full. More unsent data is queued in the send buffer of
    /// the server's socket: 64 KiB on Linux, or an amount chosen by the operating system on other
    /// platforms. Over HTTP/2, the timeout applies to the connection and to every response that the
    /// client does not read. The timeout restarts whenever the client has read another 16 KiB. Over
    /// HTTP/1 without TLS, the client must have read about 32 KiB instead, or more if the client's
    /// kernel frees buffer space in larger steps. If a stream always has data to send, the client
    /// must read about 5 KB/s to avoid the default timeout.
    pub fn send_timeout(mut self, limit: Duration) -> Self {
        self.timeouts.send = limit.min(LONGEST);
        self
    }

    /// Sets how long a client may take to send a request head before the connection is closed. The
    /// default is 75 seconds. Load balancers usually close idle connections after 60 seconds, and
    /// the server should not close them first.
    ///
    /// The timeout starts when the connection is opened or when the previous response ends, so it
    /// also limits how long an idle connection is kept open.
    pub fn header_read_timeout(mut self, limit: Duration) -> Self {
        self.timeouts.header_read = limit.min(LONGEST);
        self
    }

    /// Sets how long the server waits for a request body while the app has not yet responded. The
    /// default is 30 seconds, plus 1 second per 500 bytes received. Once this time is up, reading
    /// the body fails, and axum's extractors respond with `400`.
    ///
    /// Only the time spent waiting for the client counts, not the time that the handler takes
    /// between reads.
    pub fn body_read_timeout(mut self, limit: Duration) -> Self {
        self.timeouts.body_read = limit.min(LONGEST);
        self
    }

    /// Sets how long a peer may leave data unacknowledged. If no data is in flight, the limit
    /// applies to keep-alive probes instead. The default is 45 seconds. Once this time is up, the
    /// connection is closed, and its streams end with
    /// [`ClientGone`](crate::CloseReason::ClientGone).
    ///
    /// If a client merely stops reading, its receive buffer fills up, and it no longer acknowledges
    /// data or PINGs. This timeout therefore also applies to such a client. The
    /// [`send_timeout`](Self::send_timeout) starts later, once 64 KiB is queued in the socket's
    /// send buffer. If `tcp_user_timeout` expires first, the client counts as gone, not as stalled.
    ///
    /// Values below 1 second are raised to 1 second. With the default keep-alive of 15 seconds, a
    /// peer that has vanished is detected within a minute. Over HTTP/2, the peer is also checked
    /// with PINGs. The socket option `TCP_USER_TIMEOUT` (RFC 5482) exists only on Linux. On other
    /// platforms, this method sets the time limit for probes, and the operating system's own limit
    /// applies to data.
    pub fn tcp_user_timeout(mut self, limit: Duration) -> Self {
        self.timeouts.tcp_user = limit.clamp(Duration::from_secs(1), LONGEST);
        self
    }

    /// Adds a readiness probe at `path`. Requests to the probe do not pass through the app's
    /// layers. The probe responds to `GET` requests with `200`, or with `503` once the server
    /// begins to shut down.
    ///
    /// # Panics
    ///
    /// Panics if the app already has a route at this path, as [`Router::route`] does.
    #[track_caller]
    pub fn readiness_path(self, path: &str) -> Self {
        self.readiness_check(path, || true)
    }

    /// Like [`readiness_path`](Self::readiness_path), but the probe also responds with `503` while
    /// `is_healthy` returns `false`, so that the load balancer sends new clients to other servers.
    /// Open streams continue. `is_healthy` is called for each request to the probe and must not
    /// block.
    ///
    /// ```
    /// # struct Redis;
    /// # impl Redis { fn is_healthy(&self) -> bool { true } }
    /// # fn configure(app: axum::Router, redis: Redis) {
    /// let server = sse_runtime::Server::new(app)
    ///     .readiness_check("/readyz", move || redis.is_healthy());
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the app already has a route at this path, as [`Router::route`] does.
    #[track_caller]
    pub fn readiness_check(
        mut self,
        path: &str,
        is_healthy: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        let (is_ready, is_healthy) = (Arc::clone(&self.is_ready), Arc::new(is_healthy));
        let probe = get(
            async move || match is_ready.load(Ordering::Relaxed) && is_healthy() {
                true => StatusCode::OK,
                false => StatusCode::SERVICE_UNAVAILABLE,
            },
        );
        self.app = self.app.route(path, probe);
        self
    }

    /// Also shuts the server down when `shutdown` begins. Use this method in programs that are not
    /// stopped by a signal. The server then drains without a delay, within the drain time of
    /// `shutdown`.
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = Some(shutdown);
        self
    }

    /// Sets whether SIGINT and SIGTERM (Ctrl-C on platforms without signals) shut the server down.
    /// The default is `true`.
    ///
    /// Once a process has started to listen for a signal, that signal no longer terminates the
    /// process by itself. With `true`, SIGINT and SIGTERM no longer terminate the process once the
    /// server has started, not even after it has stopped. Programs that outlive their server, or
    /// that handle signals themselves, should pass `false` and stop the server with a
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

    /// Sets whether event streams over HTTP/1 bypass hyper and are driven directly on their
    /// sockets. The default is `true`.
    ///
    /// With `true`, a quiet stream needs about a quarter of the memory it would need with hyper,
    /// and sending an event takes less time. Clients cannot see the difference. If you suspect that
    /// the bypass causes a problem, pass `false` to find out.
    pub fn bypass_hyper(mut self, bypass: bool) -> Self {
        self.takeover = bypass;
        self
    }

    /// Serves on `addr` until a [signal](Self::signals) arrives or the [shutdown](Self::shutdown)
    /// begins. Returns once all streams have ended.
    ///
    /// # Errors
    ///
    /// Returns an error if the address cannot be bound, if the certificate cannot be used, or if
    /// the process cannot listen for signals. An error on one connection does not affect the
    /// others.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes all connections immediately.
    ///
    /// # Several addresses
    ///
    /// A server listens on one address. To serve a port and a Unix socket, run two servers with the
    /// same router. Both servers receive the signals. Each server has its own
    /// [`max_streams`](Self::max_streams), whereas a [`StreamLimit`] on the router counts the
    /// streams of both. A program that binds a Unix socket must remove the socket file itself, both
    /// before binding the socket and after closing it.
    ///
    /// ```no_run
    /// # use {axum::Router, sse_runtime::Server, tokio::net::UnixListener};
    /// # #[cfg(unix)]
    /// # async fn run(app: Router) -> std::io::Result<()> {
    /// let socket = UnixListener::bind("/run/app.sock")?;
    /// tokio::try_join!(
    ///     Server::new(app.clone()).readiness_path("/readyz").serve("[::]:8080"),
    ///     Server::new(app).serve(socket),
    /// )?;
    /// # Ok(()) }
    /// ```
    pub async fn serve(self, addr: impl Bind) -> io::Result<()> {
        self.serve_bound(addr.bind()).await
    }

    /// Serves on the listener that `binding` returns.
    pub(super) async fn serve_bound(
        self,
        binding: impl Future<Output = io::Result<Listener>> + Send,
    ) -> io::Result<()> {
        #[cfg_attr(
            not(feature = "tls"),
            expect(unused_mut, reason = "mutated only while loading the certificate")
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
                // If the files are on an unresponsive file system, loading may never finish, so a
                // signal or a shutdown ends the wait.
                _ = signals.next() => return Ok(()),
                () = self.shutdown_begun() => return Ok(()),
            },
            None => None,
        };
        let listener = binding.await?;
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

    /// Waits until the caller's shutdown begins, or forever if the caller has not passed one.
    #[cfg(feature = "tls")]
    async fn shutdown_begun(&self) {
        match &self.shutdown {
            Some(shutdown) => shutdown.begun().await,
            None => std::future::pending().await,
        }
    }
}
