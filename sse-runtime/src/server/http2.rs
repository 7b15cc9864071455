//! [`Streams`]: the streams of an HTTP/2 connection, each in a task of its own, which gives its client up when that takes
//! nothing.

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

/// What every client of HTTP/2 begins with, and none of HTTP/1.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How many streams one HTTP/2 connection may have open.
///
/// A browser has one connection for all its tabs. A proxy that needs more streams opens another connection.
pub(crate) const STREAMS: u32 = 250;

/// How large the head of a request may be, in bytes: as on HTTP/1.
pub(crate) const HEAD: u32 = 64 * 1024;

/// How much is held for one stream whose client takes nothing, in bytes.
pub(crate) const STREAM_BUFFER: usize = 64 * 1024;

/// Drives the streams of an HTTP/2 connection, each in a task of its own.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    send_timeout: Duration,
    /// A stream outlives the task of its connection, by what it takes to drop it: the server waits for it, and so for
    /// the hooks that it has.
    closing: TaskTracker,
    open: Open,
}

/// How many streams of one connection are open, and how many have begun so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Open(Arc<(AtomicUsize, AtomicUsize)>);

impl Open {
    fn enter(&self) -> OpenStream {
        let (open, begun) = &*self.0;
        open.fetch_add(1, Ordering::Relaxed);
        begun.fetch_add(1, Ordering::Relaxed);
        OpenStream(self.clone())
    }

    /// Waits until there was none for as long as this, and for at most twice as long.
    pub(crate) async fn idle(self, limit: Duration) {
        let (open, begun) = &*self.0;
        loop {
            let before = begun.load(Ordering::Relaxed);
            sleep(limit).await;
            if open.load(Ordering::Relaxed) == 0 && begun.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

struct OpenStream(Open);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Streams {
    pub(crate) fn new(send_timeout: Duration, closing: TaskTracker) -> Self {
        Self {
            send_timeout,
            closing,
            open: Open::default(),
        }
    }

    pub(crate) fn open(&self) -> &Open {
        &self.open
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let driven = StallTimeout::new(stream, self.send_timeout);
        let open = self.open.enter();
        self.closing.spawn(async move {
            let _open = open;
            driven.await;
        });
    }
}

tokio::task_local! {
    /// Where the answer to a request finds the task that drives its stream.
    static DRIVEN: Arc<OnceLock<FlowControl>>;
}

/// Gives the flow of a stream to the task that drives it, which is the current one.
fn drive(flow: &FlowControl) {
    // Outside of such a task nobody waits for it.
    let _ = DRIVEN.try_with(|driven| driven.set(flow.clone()));
}

pin_project! {
    /// Drives one stream, and gives it up when its client takes nothing for too long: dropping it resets the stream.
    struct StallTimeout<F> {
        #[pin]
        stream: Option<F>,
        flow: Arc<OnceLock<FlowControl>>,
        send_timeout: Duration,
        // Runs while the stream cannot go on, restarted whenever it has made progress.
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
        let polled = DRIVEN.sync_scope(Arc::clone(this.flow), || stream.poll(cx));
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

/// Hands the requests of an HTTP/2 connection to the app.
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

/// The app's answer to a request of HTTP/2.
pub(crate) struct Http2ResponseFuture {
    answer: ResponseFuture,
    flow: FlowControl,
}

impl Future for Http2ResponseFuture {
    type Output = Result<Response<BoundedBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Ok(response) = ready!(Pin::new(&mut this.answer).poll(cx));
        // It is hyper that polls here, in the stream's task, whatever tasks the layers have the request in.
        drive(&this.flow);
        let flow = this.flow.clone();
        Poll::Ready(Ok(response.map(|body| BoundedBody::new(body, flow))))
    }
}

/// How much hyper is handed at once, in bytes: a frame of HTTP/2, by default.
///
/// It takes whatever it is handed as soon as the client has room for a byte of it, holds it for as long as the client
/// likes, and asks for more. So what waits has to wait before it, where it is seen.
const PIECE: usize = 16 * 1024;

/// A piece of fewer bytes is small: a client of the crate `h2` has few of them wait for its app.
const SMALL: usize = 256;

/// How much hyper may hold of one stream.
const UNSENT_OF_STREAM: Bound = Bound {
    pieces: 8 * 1024,
    bytes: 64 * 1024,
};

/// How much hyper may hold of all streams of a connection, apart from one piece of each.
///
/// It is what waits between the tasks of the streams and that of the connection, so it bounds no client that reads. A piece
/// of a few bytes takes hyper some 400.
const UNSENT_OF_CONNECTION: Bound = Bound {
    pieces: 16 * 1024,
    bytes: 1024 * 1024,
};

/// A response's body, in pieces, which hands hyper no more of them than it may hold.
///
/// After too many small pieces, what the body yields without waiting is gathered until it is no longer small. Once the body
/// waits, what has been gathered is handed over as soon as hyper has written the piece before it. No timer delays anything.
#[derive(Debug)]
pub(crate) struct BoundedBody {
    body: Body,
    /// What is left of a frame.
    rest: Bytes,
    /// The next piece, as long as it is small.
    gathered: BytesMut,
    /// The body had nothing to add to what is gathered when it was last polled.
    has_waited: bool,
    flow: FlowControl,
    /// hyper was handed a piece.
    has_begun: bool,
    /// What the body ended with, until hyper has everything before it.
    last: Option<Last>,
}

#[derive(Debug)]
enum Last {
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
            has_waited: false,
            flow,
            has_begun: false,
            last: None,
        }
    }

    fn hand_over(&mut self, bytes: Bytes) -> Polled {
        self.has_begun = true;
        self.has_waited = false;
        // No piece has more.
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

    /// Hands over some of the rest, or gathers it.
    fn take_rest(&mut self) -> Polled {
        let is_small = self.rest.len() < SMALL;
        if self.gathered.is_empty() && (!is_small || self.flow.admit_small()) {
            let bytes = self.rest.split_to(self.rest.len().min(PIECE));
            return self.hand_over(bytes);
        }
        let len = self.rest.len().min(PIECE - self.gathered.len());
        self.gathered.extend_from_slice(&self.rest.split_to(len));
        self.has_waited = false;
        if self.gathered.len() < SMALL {
            return Poll::Pending;
        }
        self.hand_over_gathered()
    }

    /// The body waits, or lets others go first: only one that still has nothing in the next turn waits.
    fn poll_waiting(&mut self, cx: &Context<'_>) -> Polled {
        if self.gathered.is_empty() {
            return Poll::Pending;
        }
        if !self.has_waited {
            self.has_waited = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !self.flow.poll_written(cx.waker()) {
            return Poll::Pending;
        }
        self.hand_over_gathered()
    }

    fn poll_last(&mut self, last: Last, cx: &Context<'_>) -> Polled {
        match last {
            Last::End => {
                self.last = Some(last);
                Poll::Ready(None)
            }
            Last::Trailers(trailers) => {
                self.last = Some(Last::End);
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Last::Failed(error) => self.poll_failed(error, cx),
        }
    }

    /// The body has failed. hyper resets the stream as soon as it sees the error, which discards everything not yet on the wire,
    /// so the error is held back until the last piece is written. If there is no piece, an empty one shows when
    /// the head is written.
    fn poll_failed(&mut self, error: axum::Error, cx: &Context<'_>) -> Polled {
        if self.has_begun && self.flow.poll_written(cx.waker()) {
            self.last = Some(Last::End);
            return Poll::Ready(Some(Err(error)));
        }
        self.last = Some(Last::Failed(error));
        if self.has_begun {
            return Poll::Pending;
        }
        self.hand_over(Bytes::new())
    }
}

/// Bytes of a body that hyper holds until they are written.
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
            && let Some(last) = this.last.take()
        {
            return this.poll_last(last, cx);
        }
        let flow = &this.flow;
        if !flow.poll_room(UNSENT_OF_STREAM, UNSENT_OF_CONNECTION, cx.waker()) {
            return Poll::Pending;
        }
        loop {
            if !this.rest.is_empty() {
                let taken = this.take_rest();
                if taken.is_ready() {
                    return taken;
                }
            }
            if this.last.is_some() {
                return this.hand_over_gathered();
            }
            let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
                return this.poll_waiting(cx);
            };
            let last = match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) if data.is_empty() => return this.hand_over_gathered(),
                Some(Ok(Ok(data))) => {
                    this.rest = data;
                    continue;
                }
                Some(Ok(Err(frame))) => Last::Trailers(frame.into_trailers().unwrap_or_default()),
                Some(Err(error)) => Last::Failed(error),
                None => Last::End,
            };
            if this.gathered.is_empty() {
                return this.poll_last(last, cx);
            }
            this.last = Some(last);
        }
    }

    fn is_end_stream(&self) -> bool {
        let is_empty = self.rest.is_empty() && self.gathered.is_empty();
        is_empty
            && match self.last {
                None => self.body.is_end_stream(),
                Some(Last::End) => true,
                // They are still to come, even if the body is at its end.
                Some(Last::Trailers(_) | Last::Failed(_)) => false,
            }
    }

    fn size_hint(&self) -> SizeHint {
        let held = (self.rest.len() + self.gathered.len()) as u64;
        let mut hint = match self.last {
            None => self.body.size_hint(),
            Some(Last::End | Last::Trailers(_)) => SizeHint::with_exact(0),
            Some(Last::Failed(_)) => SizeHint::default(),
        };
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + held);
        }
        hint.set_lower(hint.lower() + held);
        hint
    }
}
