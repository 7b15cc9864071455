//! [`ConnectionTask`]: serves the requests and event streams of a connection, one at a time.

use std::{
    error::Error,
    future::{Future, poll_fn},
    mem,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
#[cfg(feature = "tls")]
use tokio_rustls::server::TlsStream;

#[cfg(feature = "http2")]
use crate::server::http2::{HEAD, Http2Service, PREFACE, STREAM_BUFFER, STREAMS, Streams};
#[cfg(feature = "tls")]
use crate::server::{socket::Metered, tls::Tls};
use crate::{
    lifecycle::{shutdown::Shutdown, stream_limit::StreamLimit, wire::Wire},
    server::{
        connections::{Open, OpenGuard},
        service::Service,
        socket::{Socket, Transport},
        takeover::{
            candidate::Slot,
            driver::{AfterStream, Closing, TakenOver},
        },
    },
};

/// The timeouts of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// How long a client may take to send a request head, or may stay idle between two requests.
    pub(crate) header_read: Duration,
    /// How long the server waits for a request body. See [`RequestBody`].
    pub(crate) body_read: Duration,
    /// How long a client may go without reading.
    pub(crate) send: Duration,
    /// How long a peer may leave data unacknowledged.
    pub(crate) tcp_user: Duration,
}

/// Maximum size, in bytes, of an HTTP/1 connection's read buffer and of its write buffer.
const BUFFER: usize = 64 * 1024;

/// The settings shared by all of a server's connections.
#[derive(Debug)]
pub(crate) struct ConnectionContext {
    pub(crate) app: Router,
    pub(crate) max_streams: Option<StreamLimit>,
    pub(crate) timeouts: Timeouts,
    pub(crate) shutdown: Shutdown,
    /// Whether event streams over HTTP/1 are taken over. See [`takeover`](crate::server::takeover).
    pub(crate) takeover: bool,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Tls>,
}

/// An error that affects only the connection on which it occurs. Clients can cause such errors at
/// will, so they are logged at the `debug` level.
type ConnectionError = Box<dyn Error + Send + Sync>;

/// The future that serves requests until an event stream is taken over or the connection ends. It
/// is ten times the size of a stream's state, so it is boxed. Otherwise, a connection's task would
/// reserve that space even while it drives a stream.
type Requests<Io> =
    Pin<Box<dyn Future<Output = Result<Option<TakenOver<Io>>, ConnectionError>> + Send>>;

/// A connection's task. It serves requests and event streams one at a time.
///
/// The state machine is written by hand to save memory and time, because a stream may last for
/// hours and is polled for every event it sends. An equivalent `async fn` would reserve space for
/// the stream three times, once for each variable that the stream is moved into. It would also nest
/// four futures, whose states would lie on four different cache lines.
struct ConnectionTask<Io: Transport> {
    // Declared before `guard` so that the socket is closed first. Dropping the guard reports that
    // the socket's file descriptor has been freed.
    stage: Stage<Io>,
    /// The error that ended a stream, stored until the socket is closed on the next poll.
    broken: Option<ConnectionError>,
    context: Arc<ConnectionContext>,
    peer: Option<SocketAddr>,
    guard: Option<OpenGuard>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "the small variants are short-lived"
)]
enum Stage<Io: Transport> {
    Requests(Requests<Io>),
    Stream(TakenOver<Io>),
    Closing(Closing),
    Over,
}

impl<Io: Transport> ConnectionTask<Io> {
    fn after_stream(&mut self) {
        if let Stage::Stream(stream) = mem::replace(&mut self.stage, Stage::Over) {
            self.stage = match stream.end(&self.context.shutdown) {
                AfterStream::Next(socket) => {
                    let requests = Arc::clone(&self.context).serve_requests(socket, self.peer);
                    Stage::Requests(Box::pin(requests))
                }
                AfterStream::Nothing(closing) => Stage::Closing(closing),
            };
        }
    }

    fn end(&mut self, served: Result<(), ConnectionError>) {
        self.stage = Stage::Over;
        if let Err(error) = served {
            let peer = self.peer.map(tracing::field::display);
            tracing::debug!(peer, %error, "a connection ended with an error");
        }
        self.guard = None;
    }
}

impl<Io: Transport> Future for ConnectionTask<Io> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if let Some(broken) = this.broken.take() {
            this.end(Err(broken));
        }
        loop {
            match &mut this.stage {
                Stage::Stream(stream) => match ready!(stream.poll_send(cx)) {
                    Ok(()) => this.after_stream(),
                    Err(broken) => {
                        // Other tasks may be waiting for a resource held by the generator, and
                        // closing a socket takes longer than dropping a generator. Therefore, drop
                        // the generator now and close the socket on the next poll. If many clients
                        // disconnect at once, all their generators are dropped before any of their
                        // sockets is closed.
                        stream.end_body();
                        this.broken = Some(broken);
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                },
                Stage::Requests(requests) => match ready!(requests.as_mut().poll(cx)) {
                    Ok(Some(stream)) => this.stage = Stage::Stream(stream),
                    served => this.end(served.map(drop)),
                },
                Stage::Closing(closing) => {
                    let closed = ready!(closing.as_mut().poll(cx));
                    this.end(closed.map_err(Into::into));
                }
                Stage::Over => return Poll::Ready(()),
            }
        }
    }
}

impl ConnectionContext {
    pub(crate) fn spawn<Io: Transport>(
        self: Arc<Self>,
        io: Io,
        peer: Option<SocketAddr>,
        open: &Arc<Open>,
        number: u64,
    ) {
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls.clone() {
            let requests = Arc::clone(&self).serve_tls(tls, io, peer);
            open.spawn(number, |guard| {
                self.serving(Box::pin(requests), peer, guard)
            });
            return;
        }
        let requests = Arc::clone(&self).serve_plain(io, peer);
        open.spawn(number, |guard| {
            self.serving(Box::pin(requests), peer, guard)
        });
    }

    fn serving<Io: Transport>(
        self: Arc<Self>,
        requests: Requests<Io>,
        peer: Option<SocketAddr>,
        guard: OpenGuard,
    ) -> ConnectionTask<Io> {
        ConnectionTask {
            stage: Stage::Requests(requests),
            broken: None,
            context: self,
            peer,
            guard: Some(guard),
        }
    }

    /// Serves a TLS connection with the protocol negotiated through ALPN (RFC 7301).
    #[cfg(feature = "tls")]
    async fn serve_tls<Io: Transport>(
        self: Arc<Self>,
        tls: Tls,
        io: Io,
        peer: Option<SocketAddr>,
    ) -> Result<Option<TakenOver<TlsStream<Metered<Io>>>>, ConnectionError> {
        let handshake = Box::pin(tls.accept(Metered::new(io)));
        let io = tokio::select! {
            biased;
            io = tokio::time::timeout(self.timeouts.header_read, handshake) => io??,
            () = self.shutdown.begun() => return Ok(None),
        };
        #[cfg(feature = "http2")]
        let is_http2 = crate::server::tls::is_h2(&io);
        let socket = Socket::new(io, self.timeouts.send);
        #[cfg(feature = "http2")]
        if is_http2 {
            // The client must still send the preface. hyper would wait for it indefinitely, so read
            // it here, subject to a timeout.
            let (socket, _) = Box::pin(self.preface(socket)).await?;
            Box::pin(self.serve_http2(socket, peer)).await?;
            return Ok(None);
        }
        self.serve_requests(socket, peer).await
    }

    /// Serves a connection without TLS. Uses HTTP/2 if the client sends the HTTP/2 preface first,
    /// and HTTP/1 otherwise.
    async fn serve_plain<Io: Transport>(
        self: Arc<Self>,
        io: Io,
        peer: Option<SocketAddr>,
    ) -> Result<Option<TakenOver<Io>>, ConnectionError> {
        let socket = Socket::new(io, self.timeouts.send);
        #[cfg(feature = "http2")]
        let socket = {
            let (socket, is_http2) = Box::pin(self.preface(socket)).await?;
            if is_http2 {
                Box::pin(self.serve_http2(socket, peer)).await?;
                return Ok(None);
            }
            socket
        };
        self.serve_requests(socket, peer).await
    }

    /// Returns whether the client sends the HTTP/2 preface first (RFC 9113, section 3.4). Reading
    /// the preface is subject to a timeout, because hyper waits indefinitely for the rest of an
    /// incomplete one.
    #[cfg(feature = "http2")]
    async fn preface<Io: Transport>(
        &self,
        mut socket: Socket<Io>,
    ) -> Result<(Socket<Io>, bool), ConnectionError> {
        let preface = socket.starts_with(PREFACE);
        tokio::select! {
            // Serve a request that has already arrived, even if the server is shutting down.
            biased;
            is_http2 = tokio::time::timeout(self.timeouts.header_read, preface) => {
                let is_http2 = is_http2??;
                Ok((socket, is_http2))
            }
            () = self.shutdown.begun() => Err("the server is shutting down".into()),
        }
    }

    /// Lets hyper serve requests until an event stream is taken over or the connection ends.
    async fn serve_requests<Io: Transport>(
        self: Arc<Self>,
        socket: Socket<Io>,
        peer: Option<SocketAddr>,
    ) -> Result<Option<TakenOver<Io>>, ConnectionError> {
        let slot = Slot::default();
        let mut service = self.service(socket.wire(), peer);
        if self.takeover {
            service.set_slot(slot.clone());
        }
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.timeouts.header_read)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(socket), service)
            .with_upgrades();
        let mut shutdown_begun = pin!(self.shutdown.begun());
        let mut is_shutting_down = false;
        let stream = poll_fn(|cx| {
            loop {
                if let Poll::Ready(served) = Pin::new(&mut connection).poll(cx) {
                    return Poll::Ready(served.map(|()| None));
                }
                if let Some(stream) = slot.take() {
                    return Poll::Ready(Ok(Some(stream)));
                }
                if is_shutting_down || shutdown_begun.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                is_shutting_down = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        })
        .await?;
        let Some(stream) = stream else {
            return Ok(None);
        };
        // `into_parts` returns `None` if the connection has been upgraded. Such a connection has no
        // stream to take over, because requests for an upgrade are left to hyper.
        Ok(connection.into_parts().map(|parts| {
            let mut socket = parts.io.into_inner();
            socket.give_back(&parts.read_buf);
            TakenOver::new(stream, socket)
        }))
    }

    #[cfg(feature = "http2")]
    async fn serve_http2<Io: Transport>(
        self: Arc<Self>,
        socket: Socket<Io>,
        peer: Option<SocketAddr>,
    ) -> Result<(), ConnectionError> {
        let service = Http2Service::new(self.service(socket.wire(), peer));
        let streams = Streams::new(self.timeouts.send, self.shutdown.closing().clone());
        let counts = Arc::clone(streams.counts());
        let connection = hyper::server::conn::http2::Builder::new(streams)
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_send_buf_size(STREAM_BUFFER)
            .max_header_list_size(HEAD)
            .keep_alive_interval(self.timeouts.tcp_user / 2)
            .keep_alive_timeout(self.timeouts.tcp_user / 2)
            .enable_connect_protocol()
            .serve_connection(TokioIo::new(socket), service);
        let mut connection = pin!(connection);
        tokio::select! {
            served = connection.as_mut() => return Ok(served?),
            () = self.shutdown.begun() => {}
            // Close a connection that has been idle for this long. hyper would keep it open as long
            // as the client responded to PINGs.
            () = counts.idle(self.timeouts.header_read) => {}
        }
        connection.as_mut().graceful_shutdown();
        Ok(connection.await?)
    }

    fn service(self: &Arc<Self>, wire: &Wire, peer: Option<SocketAddr>) -> Service {
        Service::new(Arc::clone(self), wire.clone(), peer)
    }
}
