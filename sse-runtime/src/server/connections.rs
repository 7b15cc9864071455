//! [`Connections`]: from a listener to the app, one task for each connection, HTTP/1 and HTTP/2 on one port.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    error::Error,
    future::{Future, poll_fn},
    mem,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, HttpBody as _},
    extract::ConnectInfo,
    http::{Method, Request, Uri},
    response::Response,
    routing::future::RouteFuture,
};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::AbortHandle;
#[cfg(feature = "tls")]
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;
use tower_service::Service as _;

#[cfg(feature = "http2")]
use crate::server::http2::{HEAD, Http2Service, PREFACE, STREAM_BUFFER, STREAMS, Streams};
#[cfg(feature = "tls")]
use crate::server::{socket::Metered, tls::Tls};
use crate::{
    lifecycle::{
        extension_layer::Tell as _, shutdown::Shutdown, stream_limit::StreamLimit, wire::Wire,
    },
    server::{
        body_timeout::{Course, RequestBody},
        listener::{self, Accepted, FreedDescriptors, Listener},
        socket::{Socket, Transport},
        takeover::{Asked, Behind, Closing, Slot, TakenOver},
    },
};

/// How long a server waits for what its clients have to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
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

/// The open connections of a server. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Connections {
    each: Arc<Each>,
    open: Arc<Open>,
}

/// Those that are open, to be waited for, and to be ended.
///
/// A connection takes itself out when it ends, and wakes nobody: whoever is blocked on the server, as `main` mostly is, is a
/// thread that would go to sleep and wake up for each client that leaves.
#[derive(Debug, Default)]
struct Open {
    tasks: TaskTracker,
    /// By the number of a connection; `None` as long as it is not known how to end it. A tree, which keeps no room for a crowd
    /// that has left.
    aborting: Mutex<BTreeMap<u64, Option<AbortHandle>>>,
    descriptors: FreedDescriptors,
}

/// A connection that is open, until it is dropped.
#[derive(Debug)]
struct Entered {
    open: Arc<Open>,
    number: u64,
}

impl Open {
    fn aborting(&self) -> MutexGuard<'_, BTreeMap<u64, Option<AbortHandle>>> {
        self.aborting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn<F>(self: &Arc<Self>, number: u64, connection: impl FnOnce(Entered) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.aborting().insert(number, None);
        let entered = Entered {
            open: Arc::clone(self),
            number,
        };
        // Not under the lock: a runtime that shuts down drops the task here.
        let task = self.tasks.spawn(connection(entered));
        // Unless it has ended already.
        if let Some(place) = self.aborting().get_mut(&number) {
            *place = Some(task.abort_handle());
        }
    }

    fn abort(&self) {
        let aborting = mem::take(&mut *self.aborting());
        for task in aborting.into_values().flatten() {
            task.abort();
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let task = self.open.aborting().remove(&self.number);
        drop(task);
        self.open.descriptors.report();
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.open.abort();
    }
}

impl Connections {
    pub(crate) fn new(each: Each) -> Self {
        Self {
            each: Arc::new(each),
            open: Arc::default(),
        }
    }

    /// Accepts until it is dropped.
    pub(crate) async fn accept(&self, listener: &Listener) -> Infallible {
        #[cfg(feature = "tls")]
        let tls = self.each.tls.clone();
        let renewed = async {
            #[cfg(feature = "tls")]
            if let Some(tls) = tls {
                tls.reload().await;
            }
            std::future::pending::<Infallible>().await
        };
        let accepting = async {
            for number in 0.. {
                self.open(number, listener.accept(&self.open.descriptors).await);
            }
            std::future::pending().await
        };
        tokio::select! {
            never = accepting => never,
            never = renewed => never,
        }
    }

    /// Waits until none is open, of those that there are.
    pub(crate) async fn closed(&self) {
        self.open.tasks.close();
        self.open.tasks.wait().await;
    }

    /// How many are open.
    pub(crate) fn count(&self) -> usize {
        self.open.tasks.len()
    }

    /// Ends those that are open, each at its next `.await`.
    pub(crate) fn abort(&self) {
        self.open.abort();
    }

    fn open(&self, number: u64, accepted: Accepted) {
        let each = Arc::clone(&self.each);
        match accepted {
            Accepted::Tcp(socket, peer) => {
                listener::prepare(&socket, peer, each.patience.tcp_user);
                each.spawn(socket, Some(peer), &self.open, number);
            }
            #[cfg(unix)]
            Accepted::Unix(socket) => each.spawn(socket, None, &self.open, number),
        }
    }
}

/// What each connection is served with.
#[derive(Debug)]
pub(crate) struct Each {
    pub(crate) app: Router,
    pub(crate) max_streams: Option<StreamLimit>,
    pub(crate) patience: Patience,
    pub(crate) shutdown: Shutdown,
    /// Whether event streams on HTTP/1 are taken over, see [`takeover`](crate::server::takeover).
    pub(crate) takeover: bool,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Tls>,
}

/// What ends a connection, and nothing else. Clients come and go, and what they send is theirs, so it is for `debug`.
type Broken = Box<dyn Error + Send + Sync>;

/// What goes on before an event stream, or instead of one, up to one that is taken over. In a box that goes when the stream
/// begins: it is ten times as large.
type Requests<Io> = Pin<Box<dyn Future<Output = Result<Option<TakenOver<Io>>, Broken>> + Send>>;

/// A connection's task: requests and event streams in turns.
///
/// A state machine by hand, since a stream may last for hours, and is woken for each event. What `async` makes of the same has
/// room for the stream three times, as it moves from one variable to the next, and four states, one inside of the other, each
/// in a line of its own of the processor's cache.
struct Serving<Io: Transport> {
    // Dropped first, and `entered` last: whoever waits for the connection waits for all of it.
    stage: Stage<Io>,
    /// Why the stream has broken off, whose socket is still open.
    broken: Option<Broken>,
    each: Arc<Each>,
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

impl<Io: Transport> Serving<Io> {
    fn behind_stream(&mut self) {
        if let Stage::Stream(stream) = mem::replace(&mut self.stage, Stage::Over) {
            self.stage = match stream.end(&self.each.shutdown) {
                Behind::Next(socket) => {
                    let requests = Arc::clone(&self.each).serve_requests(socket, self.peer);
                    Stage::Requests(Box::pin(requests))
                }
                Behind::Nothing(closing) => Stage::Closing(closing),
            };
        }
    }

    fn end(&mut self, served: Result<(), Broken>) {
        self.stage = Stage::Over;
        if let Err(error) = served {
            let peer = self.peer.map(tracing::field::display);
            tracing::debug!(peer, %error, "a connection ended with an error");
        }
        self.entered = None;
    }
}

impl<Io: Transport> Future for Serving<Io> {
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

impl Each {
    fn spawn<Io: Transport>(
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
    ) -> Serving<Io> {
        Serving {
            stage: Stage::Requests(requests),
            broken: None,
            each: self,
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
    ) -> Result<Option<TakenOver<TlsStream<Metered<Io>>>>, Broken> {
        let shaking_hands = Box::pin(tls.accept(Metered::new(io)));
        let io = tokio::select! {
            biased;
            io = tokio::time::timeout(self.patience.header_read, shaking_hands) => io??,
            () = self.shutdown.begun() => return Ok(None),
        };
        #[cfg(feature = "http2")]
        let is_http2 = crate::server::tls::is_h2(&io);
        let socket = Socket::new(io, self.patience.send);
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
    ) -> Result<Option<TakenOver<Io>>, Broken> {
        let socket = Socket::new(io, self.patience.send);
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
    ) -> Result<(Socket<Io>, bool), Broken> {
        let preface = socket.starts_with(PREFACE);
        tokio::select! {
            // What has been sent already is answered, also where the server begins to stop.
            biased;
            is_http2 = tokio::time::timeout(self.patience.header_read, preface) => {
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
    ) -> Result<Option<TakenOver<Io>>, Broken> {
        let slot = Slot::default();
        let mut service = self.service(socket.wire(), peer);
        service.slot = self.takeover.then(|| slot.clone());
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.patience.header_read)
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
    ) -> Result<(), Broken> {
        let service = Http2Service::new(self.service(socket.wire(), peer));
        let streams = Streams::new(self.patience.send, self.shutdown.closing().clone());
        let open = streams.open().clone();
        let connection = hyper::server::conn::http2::Builder::new(streams)
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_send_buf_size(STREAM_BUFFER)
            .max_header_list_size(HEAD)
            .keep_alive_interval(self.patience.tcp_user / 2)
            .keep_alive_timeout(self.patience.tcp_user / 2)
            .enable_connect_protocol()
            .serve_connection(TokioIo::new(socket), service);
        let mut connection = pin!(connection);
        tokio::select! {
            served = connection.as_mut() => return Ok(served?),
            () = self.shutdown.begun() => {}
            // A client that answers PINGs, and asks for nothing.
            () = open.idle(self.patience.header_read) => {}
        }
        connection.as_mut().graceful_shutdown();
        Ok(connection.await?)
    }

    fn service(self: &Arc<Self>, wire: &Wire, peer: Option<SocketAddr>) -> Service {
        Service {
            each: Arc::clone(self),
            wire: wire.clone(),
            peer,
            slot: None,
        }
    }
}

/// Hands the requests of one connection to the app, and tells it what they came in on.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    each: Arc<Each>,
    wire: Wire,
    peer: Option<SocketAddr>,
    /// For event streams that are taken over.
    slot: Option<Slot>,
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        let slot = self.slot.as_ref();
        let asked = slot.and_then(|slot| Asked::new(&request, slot));
        let mut course = None;
        let mut request = request.map(|body| {
            if body.is_end_stream() {
                return Body::empty();
            }
            let course = course.get_or_insert_with(Course::default).clone();
            Body::new(RequestBody::new(body, self.each.patience.body_read, course))
        });
        let extensions = request.extensions_mut();
        if let Some(peer) = self.peer {
            extensions.insert(ConnectInfo(peer));
        }
        extensions.insert(self.wire.clone());
        self.each.shutdown.tell(extensions);
        if let Some(limit) = &self.each.max_streams {
            limit.tell(extensions);
        }
        let line = RequestLine {
            method: request.method().clone(),
            uri: request.uri().clone(),
        };
        let mut app = self.each.app.clone();
        Answer {
            answer: line.log_panic(|| app.call(request)),
            line,
            course,
            taking: asked.map(|asked| (asked, self.each.shutdown.clone())),
            was_taken: false,
        }
    }
}

/// What a request asks for.
struct RequestLine {
    method: Method,
    uri: Uri,
}

impl RequestLine {
    /// Logs a panic of the app's before it breaks off the connection. The query may hold secrets, and so may the panic's message.
    fn log_panic<T>(&self, run: impl FnOnce() -> T) -> T {
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
            tracing::error!(
                method = %self.method,
                path = self.uri.path(),
                "a handler, an extractor or a layer panicked before the response, which breaks off"
            );
            resume_unwind(panic)
        })
    }
}

/// The app's answer to a request.
pub(crate) struct Answer {
    answer: RouteFuture<Infallible>,
    line: RequestLine,
    /// Of a request that has a body.
    course: Option<Course>,
    /// Where it is taken over if it is an event stream.
    taking: Option<(Asked, Shutdown)>,
    was_taken: bool,
}

impl Future for Answer {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.was_taken {
            return Poll::Pending;
        }
        let answer = ready!(this.line.log_panic(|| Pin::new(&mut this.answer).poll(cx)));
        let has_arrived = this.course.as_ref().is_none_or(|course| {
            course.set_answered();
            course.has_arrived()
        });
        if let Some((asked, shutdown)) = this.taking.take()
            && has_arrived
        {
            let Ok(response) = answer;
            return match asked.take(response, &shutdown) {
                Some(response) => Poll::Ready(Ok(response)),
                // hyper is taken apart at the end of its turn, in which it may ask once more.
                None => {
                    this.was_taken = true;
                    Poll::Pending
                }
            };
        }
        Poll::Ready(answer)
    }
}
