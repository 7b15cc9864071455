//! [`Streams`]: runs each stream of an HTTP/2 connection in its own task. The task resets the
//! stream if the client stops reading.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    http::{HeaderMap, Request},
    response::Response,
};
use bytes::{Buf, Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tokio_util::task::TaskTracker;

use crate::{
    lifecycle::flow_control::{Bound, FlowControl, InHyper, OfConnection, Progress},
    poll::poll_unconstrained,
    server::service::{ResponseFuture, Service},
};

/// The preface that every HTTP/2 client sends first, and that no HTTP/1 client sends.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Maximum number of open streams on one HTTP/2 connection.
///
/// A browser shares one connection among all its tabs. A proxy that needs more streams opens
/// another connection.
pub(crate) const STREAMS: u32 = 250;

/// Maximum size of a request head, in bytes. It is the same as over HTTP/1.
pub(crate) const HEAD: u32 = 64 * 1024;

/// Maximum size of a stream's send buffer if the client stops reading, in bytes.
pub(crate) const STREAM_BUFFER: usize = 64 * 1024;

/// Spawns a task for each stream of an HTTP/2 connection.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    send_timeout: Duration,
    /// Dropping a stream takes time, so a stream may outlive its connection's task. The server
    /// waits for the tasks in this tracker, and therefore for the close hooks of their streams.
    closing: TaskTracker,
    counts: Arc<StreamCounts>,
}

/// Counts the streams on one connection.
#[derive(Debug, Default)]
pub(crate) struct StreamCounts {
    /// The number of open streams.
    open: AtomicUsize,
    /// The number of streams that have been opened so far.
    opened: AtomicUsize,
}

impl StreamCounts {
    fn enter(self: &Arc<Self>) -> OpenStream {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.opened.fetch_add(1, Ordering::Relaxed);
        OpenStream(Arc::clone(self))
    }

    /// Waits until no stream is open and none has been opened for `limit`. Checks once per `limit`.
    pub(crate) async fn idle(&self, limit: Duration) {
        loop {
            let before = self.opened.load(Ordering::Relaxed);
            sleep(limit).await;
            if self.open.load(Ordering::Relaxed) == 0
                && self.opened.load(Ordering::Relaxed) == before
            {
                return;
            }
        }
    }
}

/// Counts a stream as open until it is dropped.
struct OpenStream(Arc<StreamCounts>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Streams {
    pub(crate) fn new(send_timeout: Duration, closing: TaskTracker) -> Self {
        Self {
            send_timeout,
            closing,
            counts: Arc::default(),
        }
    }

    pub(crate) fn counts(&self) -> &Arc<StreamCounts> {
        &self.counts
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let driven = StallTimeout::new(stream, self.send_timeout);
        let open = self.counts.enter();
        self.closing.spawn(async move {
            let _open = open;
            driven.await;
        });
    }
}

tokio::task_local! {
    /// The slot through which a response future passes its flow control to its stream's task.
    static CURRENT_FLOW: Arc<OnceLock<FlowControl>>;
}

/// Passes a stream's flow control to the current task, which drives the stream.
fn attach_flow(flow: &FlowControl) {
    // Stalls are detected only inside a stream's task, so flow control is not needed elsewhere.
    let _ = CURRENT_FLOW.try_with(|driven| driven.set(flow.clone()));
}

pin_project! {
    /// Drives one stream, and drops the stream if its client stops reading for too long. Dropping a
    /// stream resets it.
    struct StallTimeout<F> {
        #[pin]
        stream: Option<F>,
        flow: Arc<OnceLock<FlowControl>>,
        send_timeout: Duration,
        // Runs while the stream is blocked, and restarts whenever the stream makes progress.
        #[pin]
        blocked: Option<Sleep>,
        since: Option<Progress>,
    }
}

impl<F> StallTimeout<F> {
    fn new(stream: F, send_timeout: Duration) -> Self {
        Self {
            stream: Some(stream),
            flow: Arc::default(),
            send_timeout,
            blocked: None,
            since: None,
        }
    }
}

impl<F: Future<Output = ()>> Future for StallTimeout<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(stream) = this.stream.as_mut().as_pin_mut() else {
            return Poll::Ready(());
        };
        let polled = CURRENT_FLOW.sync_scope(Arc::clone(this.flow), || stream.poll(cx));
        if polled.is_ready() {
            return Poll::Ready(());
        }
        let Some((flow, progress)) = this
            .flow
            .get()
            .and_then(|flow| Some((flow, flow.blocked_since()?)))
        else {
            this.blocked.set(None);
            return Poll::Pending;
        };
        if this.blocked.is_none() || *this.since != Some(progress) {
            *this.since = Some(progress);
            this.blocked.set(Some(sleep(*this.send_timeout)));
        }
        if let Some(blocked) = this.blocked.as_mut().as_pin_mut() {
            ready!(poll_unconstrained(blocked, cx));
        }
        flow.set_stalled();
        this.stream.set(None);
        Poll::Ready(())
    }
}

/// Passes the requests of an HTTP/2 connection to the app.
#[derive(Debug)]
pub(crate) struct Http2Service {
    service: Service,
    connection: Arc<OfConnection>,
}

impl Http2Service {
    pub(crate) fn new(service: Service) -> Self {
        Self {
            service,
            connection: Arc::default(),
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Http2Service {
    type Response = Response<BoundedBody>;
    type Error = Infallible;
    type Future = Http2ResponseFuture;

    fn call(&self, mut request: Request<Incoming>) -> Http2ResponseFuture {
        let flow = FlowControl::new(&self.connection);
        request.extensions_mut().insert(flow.clone());
        let answer = self.service.call(request);
        Http2ResponseFuture { answer, flow }
    }
}

/// The future of the app's response to an HTTP/2 request.
pub(crate) struct Http2ResponseFuture {
    answer: ResponseFuture,
    flow: FlowControl,
}

impl Future for Http2ResponseFuture {
    type Output = Result<Response<BoundedBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Ok(response) = ready!(Pin::new(&mut this.answer).poll(cx));
        // hyper polls this future in the stream's task, even if a layer handles the request in
        // another task.
        attach_flow(&this.flow);
        let flow = this.flow.clone();
        Poll::Ready(Ok(response.map(|body| BoundedBody::new(body, flow))))
    }
}

/// Maximum size of a piece handed to hyper, in bytes: one HTTP/2 frame of the default size.
///
/// hyper takes a piece as soon as the client's window has room for a single byte, holds that piece
/// for as long as the client likes, and asks for the next one. So data that does not fit into the
/// client's window must be held back before it reaches hyper, where it can be counted.
const PIECE: usize = 16 * 1024;

/// A piece with fewer bytes than this is small. A client that uses the `h2` crate accepts only a
/// limited number of small pieces that its app has not read yet.
const SMALL: usize = 256;

/// Limit on the data that hyper may hold for one stream.
const UNSENT_OF_STREAM: Bound = Bound {
    pieces: 8 * 1024,
    bytes: 64 * 1024,
};

/// Limit on the data that hyper may hold for all streams of a connection, not counting one piece
/// per stream.
///
/// This data is on its way from the stream tasks to the connection task, so the limit does not slow
/// down a client that keeps reading. A piece of a few bytes costs hyper about 400 bytes.
const UNSENT_OF_CONNECTION: Bound = Bound {
    pieces: 16 * 1024,
    bytes: 1024 * 1024,
};

/// A response body that is split into pieces and hands over only as many as hyper may hold.
///
/// After too many small pieces, data that the body yields without waiting is gathered until the
/// piece is no longer small. Once the body is pending, the gathered data is handed over as soon as
/// hyper has written the previous piece. No timer is involved.
#[derive(Debug)]
pub(crate) struct BoundedBody {
    body: Body,
    /// The rest of the current frame.
    rest: Bytes,
    /// The data of the next piece, while that piece is still small.
    gathered: BytesMut,
    /// Whether the last poll of the body returned `Pending` and added nothing to `gathered`.
    was_pending: bool,
    flow: FlowControl,
    /// Whether hyper has been handed a piece.
    has_handed_over: bool,
    /// How the body ended. The end is held back until hyper has taken all data before it.
    end: Option<BodyEnd>,
}

#[derive(Debug)]
enum BodyEnd {
    End,
    Trailers(HeaderMap),
    Failed(axum::Error),
}

type Polled = Poll<Option<Result<Frame<Piece>, axum::Error>>>;

impl BoundedBody {
    pub(crate) fn new(body: Body, flow: FlowControl) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            gathered: BytesMut::new(),
            was_pending: false,
            flow,
            has_handed_over: false,
            end: None,
        }
    }

    fn hand_over(&mut self, bytes: Bytes) -> Polled {
        self.has_handed_over = true;
        self.was_pending = false;
        // Lossless: a piece has at most `PIECE` bytes.
        let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        Poll::Ready(Some(Ok(Frame::data(Piece {
            bytes,
            in_hyper: self.flow.hand_over(len),
        }))))
    }

    fn hand_over_gathered(&mut self) -> Polled {
        let bytes = self.gathered.split().freeze();
        self.hand_over(bytes)
    }

    /// Hands over a piece of `rest`, or moves it to `gathered`.
    fn poll_rest(&mut self) -> Polled {
        let is_small = self.rest.len() < SMALL;
        if self.gathered.is_empty() && (!is_small || self.flow.admit_small()) {
            let bytes = self.rest.split_to(self.rest.len().min(PIECE));
            return self.hand_over(bytes);
        }
        let len = self.rest.len().min(PIECE - self.gathered.len());
        self.gathered.extend_from_slice(&self.rest.split_to(len));
        self.was_pending = false;
        if self.gathered.len() < SMALL {
            return Poll::Pending;
        }
        self.hand_over_gathered()
    }

    /// Called when the body is pending. The body may merely have yielded to other tasks, so
    /// `gathered` is handed over only if the body is still pending at the next poll.
    fn poll_pending(&mut self, cx: &Context<'_>) -> Polled {
        if self.gathered.is_empty() {
            return Poll::Pending;
        }
        if !self.was_pending {
            self.was_pending = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !self.flow.poll_written(cx.waker()) {
            return Poll::Pending;
        }
        self.hand_over_gathered()
    }

    fn poll_end(&mut self, end: BodyEnd, cx: &Context<'_>) -> Polled {
        match end {
            BodyEnd::End => {
                self.end = Some(end);
                Poll::Ready(None)
            }
            BodyEnd::Trailers(trailers) => {
                self.end = Some(BodyEnd::End);
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            BodyEnd::Failed(error) => self.poll_failed(error, cx),
        }
    }

    /// Returns the body's error once the last piece has been written. hyper resets the stream as
    /// soon as it sees the error, and the reset discards all data that has not been sent yet. If no
    /// piece has been handed over yet, an empty piece is handed over, to find out when the head has
    /// been written.
    fn poll_failed(&mut self, error: axum::Error, cx: &Context<'_>) -> Polled {
        if self.has_handed_over && self.flow.poll_written(cx.waker()) {
            self.end = Some(BodyEnd::End);
            return Poll::Ready(Some(Err(error)));
        }
        self.end = Some(BodyEnd::Failed(error));
        if self.has_handed_over {
            return Poll::Pending;
        }
        self.hand_over(Bytes::new())
    }
}

/// A piece of a body that hyper holds until it is written.
#[derive(Debug)]
pub(crate) struct Piece {
    bytes: Bytes,
    in_hyper: InHyper,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, len: usize) {
        self.bytes.advance(len);
        if len > 0 {
            self.in_hyper.advance();
        }
    }
}

impl HttpBody for BoundedBody {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        if this.rest.is_empty()
            && this.gathered.is_empty()
            && let Some(end) = this.end.take()
        {
            return this.poll_end(end, cx);
        }
        let flow = &this.flow;
        if !flow.poll_room(UNSENT_OF_STREAM, UNSENT_OF_CONNECTION, cx.waker()) {
            return Poll::Pending;
        }
        loop {
            if !this.rest.is_empty() {
                let taken = this.poll_rest();
                if taken.is_ready() {
                    return taken;
                }
            }
            if this.end.is_some() {
                return this.hand_over_gathered();
            }
            let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
                return this.poll_pending(cx);
            };
            let end = match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) if data.is_empty() => return this.hand_over_gathered(),
                Some(Ok(Ok(data))) => {
                    this.rest = data;
                    continue;
                }
                Some(Ok(Err(frame))) => {
                    BodyEnd::Trailers(frame.into_trailers().unwrap_or_default())
                }
                Some(Err(error)) => BodyEnd::Failed(error),
                None => BodyEnd::End,
            };
            if this.gathered.is_empty() {
                return this.poll_end(end, cx);
            }
            this.end = Some(end);
        }
    }

    fn is_end_stream(&self) -> bool {
        let is_empty = self.rest.is_empty() && self.gathered.is_empty();
        is_empty
            && match self.end {
                None => self.body.is_end_stream(),
                Some(BodyEnd::End) => true,
                // The error or the trailers have not been returned yet, even if the body has ended.
                Some(BodyEnd::Trailers(_) | BodyEnd::Failed(_)) => false,
            }
    }

    fn size_hint(&self) -> SizeHint {
        let held = (self.rest.len() + self.gathered.len()) as u64;
        let mut hint = match self.end {
            None => self.body.size_hint(),
            Some(BodyEnd::End | BodyEnd::Trailers(_)) => SizeHint::with_exact(0),
            Some(BodyEnd::Failed(_)) => SizeHint::default(),
        };
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + held);
        }
        hint.set_lower(hint.lower() + held);
        hint
    }
}
