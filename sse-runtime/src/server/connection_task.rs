//! [`ConnectionTask`]: the task of one connection, HTTP/1 and HTTP/2 on one port, requests and event streams in turns.

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
        connections::{Entered, Open},
        service::Service,
        socket::{Socket, Transport},
        takeover::{
            candidate::Slot,
            driver::{AfterStream, Closing, TakenOver},
        },
    },
};

/// How long a server waits for what its clients have to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// For the head of a request, and between two requests.
    pub(crate) header_read: Duration,
    /// For the body of a request, see [`RequestBody`].
    pub(crate) body_read: Duration,
    /// For a client that takes nothing of what is sent.
    pub(crate) send: Duration,
    /// For a peer that acknowledges nothing.
    pub(crate) tcp_user: Duration,
}

/// How much of a request's head, or of a response, is held for one HTTP/1 connection, in bytes.
const BUFFER: usize = 64 * 1024;

/// What each connection is served with.
#[derive(Debug)]
pub(crate) struct ConnectionContext {
    pub(crate) app: Router,
    pub(crate) max_streams: Option<StreamLimit>,
    pub(crate) timeouts: Timeouts,
    pub(crate) shutdown: Shutdown,
    /// Whether event streams on HTTP/1 are taken over, see [`takeover`](crate::server::takeover).
    pub(crate) takeover: bool,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Tls>,
}

/// What ends a connection, and nothing else. Clients come and go, and what they send is theirs, so it is for `debug`.
type ConnectionError = Box<dyn Error + Send + Sync>;

/// What goes on before an event stream, or instead of one, up to one that is taken over. In a box that goes when the stream
/// begins: it is ten times as large.
type Requests<Io> =
    Pin<Box<dyn Future<Output = Result<Option<TakenOver<Io>>, ConnectionError>> + Send>>;

/// A connection's task: requests and event streams in turns.
///
/// A state machine by hand, since a stream may last for hours, and is woken for each event. What `async` makes of the same has
/// room for the stream three times, as it moves from one variable to the next, and four states, one inside of the other, each
/// in a line of its own of the processor's cache.
struct ConnectionTask<Io: Transport> {
    // Dropped first, and `entered` last: whoever waits for the connection waits for all of it.
    stage: Stage<Io>,
    /// Why the stream has broken off, whose socket is still open.
    broken: Option<ConnectionError>,
    context: Arc<ConnectionContext>,
    peer: Option<SocketAddr>,
    entered: Option<Entered>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "it is the small ones that do not last"
)]
enum Stage<Io: Transport> {
    Requests(Requests<Io>),
    Stream(TakenOver<Io>),
    Closing(Closing),
    Over,
}

impl<Io: Transport> ConnectionTask<Io> {
    fn behind_stream(&mut self) {
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
        self.entered = None;
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
                    Ok(()) => this.behind_stream(),
                    Err(broken) => {
                        // To close a socket costs more than the end of a generator, which may hold what others wait for. So of
                        // many who leave at once all generators end first.
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
            open.spawn(number, |entered| {
                self.serving(Box::pin(requests), peer, entered)
            });
            return;
        }
        let requests = Arc::clone(&self).serve_plain(io, peer);
        open.spawn(number, |entered| {
            self.serving(Box::pin(requests), peer, entered)
        });
    }

    fn serving<Io: Transport>(
        self: Arc<Self>,
        requests: Requests<Io>,
        peer: Option<SocketAddr>,
        entered: Entered,
    ) -> ConnectionTask<Io> {
        ConnectionTask {
            stage: Stage::Requests(requests),
            broken: None,
            context: self,
            peer,
            entered: Some(entered),
        }
    }

    /// What the client chooses in the handshake (RFC 7301).
    #[cfg(feature = "tls")]
    async fn serve_tls<Io: Transport>(
        self: Arc<Self>,
        tls: Tls,
        io: Io,
        peer: Option<SocketAddr>,
    ) -> Result<Option<TakenOver<TlsStream<Metered<Io>>>>, ConnectionError> {
        let shaking_hands = Box::pin(tls.accept(Metered::new(io)));
        let io = tokio::select! {
            biased;
            io = tokio::time::timeout(self.timeouts.header_read, shaking_hands) => io??,
            () = self.shutdown.begun() => return Ok(None),
        };
        #[cfg(feature = "http2")]
        let is_http2 = crate::server::tls::is_h2(&io);
        let socket = Socket::new(io, self.timeouts.send);
        #[cfg(feature = "http2")]
        if is_http2 {
            // It has to say so again, and may say nothing.
            let (socket, _) = Box::pin(self.preface(socket)).await?;
            Box::pin(self.serve_http2(socket, peer)).await?;
            return Ok(None);
        }
        self.serve_requests(socket, peer).await
    }

    /// HTTP/1, or HTTP/2 where the client begins with its preface.
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

    /// Whether the client begins with the preface of HTTP/2 (RFC 9113, section 3.4): all of it, since hyper waits for the
    /// rest of it for ever.
    #[cfg(feature = "http2")]
    async fn preface<Io: Transport>(
        &self,
        mut socket: Socket<Io>,
    ) -> Result<(Socket<Io>, bool), ConnectionError> {
        let preface = socket.starts_with(PREFACE);
        tokio::select! {
            // What has been sent already is answered, also where the server begins to stop.
            biased;
            is_http2 = tokio::time::timeout(self.timeouts.header_read, preface) => {
                let is_http2 = is_http2??;
                Ok((socket, is_http2))
            }
            () = self.shutdown.begun() => Err("the server stops".into()),
        }
    }

    /// Lets hyper answer requests, up to the one whose answer is an event stream that is taken over.
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
        let mut stopping = pin!(self.shutdown.begun());
        let mut is_stopping = false;
        let stream = poll_fn(|cx| {
            loop {
                if let Poll::Ready(served) = Pin::new(&mut connection).poll(cx) {
                    return Poll::Ready(served.map(|()| None));
                }
                if let Some(stream) = slot.take() {
                    return Poll::Ready(Ok(Some(stream)));
                }
                if is_stopping || stopping.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                is_stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        })
        .await?;
        let Some(stream) = stream else {
            return Ok(None);
        };
        // An upgrade has no answer that could have been taken.
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
        let open = streams.open().clone();
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
            // A client that answers PINGs, and asks for nothing.
            () = open.idle(self.timeouts.header_read) => {}
        }
        connection.as_mut().graceful_shutdown();
        Ok(connection.await?)
    }

    fn service(self: &Arc<Self>, wire: &Wire, peer: Option<SocketAddr>) -> Service {
        Service::new(Arc::clone(self), wire.clone(), peer)
    }
}
