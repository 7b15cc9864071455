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
    http::Request,
    response::Response,
};
use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tokio_util::task::TaskTracker;

use crate::{
    flow::{Bound, Flow, InHyper, Progress, Unsent},
    keep_alive::poll_unconstrained,
    serve::{Answer, Service},
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
        let driven = Driven::new(stream, self.send_timeout);
        let open = self.open.enter();
        self.closing.spawn(async move {
            let _open = open;
            driven.await;
        });
    }
}

tokio::task_local! {
    /// Where the answer to a request finds the task that drives its stream.
    static DRIVEN: Arc<OnceLock<Flow>>;
}

/// Gives the flow of a stream to the task that drives it, which is the current one.
fn drive(flow: &Flow) {
    // Outside of such a task nobody waits for it.
    let _ = DRIVEN.try_with(|driven| driven.set(flow.clone()));
}

pin_project! {
    /// Drives one stream, and gives it up when its client takes nothing for too long: dropping it resets the stream.
    struct Driven<F> {
        #[pin]
        stream: Option<F>,
        flow: Arc<OnceLock<Flow>>,
        send_timeout: Duration,
        // Runs while the stream cannot go on, restarted whenever it has made progress.
        #[pin]
        blocked: Option<Sleep>,
        since: Option<Progress>,
    }
}

impl<F> Driven<F> {
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

impl<F: Future<Output = ()>> Future for Driven<F> {
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
    /// What hyper holds of all its streams.
    unsent: Arc<Unsent>,
}

impl Http2Service {
    pub(crate) fn new(service: Service) -> Self {
        Self {
            service,
            unsent: Arc::default(),
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Http2Service {
    type Response = Response<Pieces>;
    type Error = Infallible;
    type Future = Http2Answer;

    fn call(&self, mut request: Request<Incoming>) -> Http2Answer {
        let flow = Flow::new(&self.unsent);
        request.extensions_mut().insert(flow.clone());
        let answer = self.service.call(request);
        Http2Answer { answer, flow }
    }
}

/// The app's answer to a request of HTTP/2.
pub(crate) struct Http2Answer {
    answer: Answer,
    flow: Flow,
}

impl Future for Http2Answer {
    type Output = Result<Response<Pieces>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Ok(response) = ready!(Pin::new(&mut this.answer).poll(cx));
        // It is hyper that polls here, in the stream's task, whatever tasks the layers have the request in.
        drive(&this.flow);
        let flow = this.flow.clone();
        Poll::Ready(Ok(response.map(|body| Pieces::new(body, flow))))
    }
}

/// How much hyper is handed at once, in bytes: a frame of HTTP/2, by default.
///
/// It takes whatever it is handed as soon as the client has room for a byte of it, holds it for as long as the client
/// likes, and asks for more. So what waits has to wait before it, where it is seen.
const PIECE: u16 = 16 * 1024;

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
#[derive(Debug)]
pub(crate) struct Pieces {
    body: Body,
    /// What is left of a frame.
    rest: Bytes,
    flow: Flow,
    /// hyper was handed a piece.
    has_begun: bool,
    /// Why the body has failed, until hyper is told.
    failed: Option<axum::Error>,
}

impl Pieces {
    pub(crate) fn new(body: Body, flow: Flow) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            flow,
            has_begun: false,
            failed: None,
        }
    }

    /// Hands over so much of the rest.
    fn hand_over(&mut self, len: u16) -> Frame<Piece> {
        self.has_begun = true;
        Frame::data(Piece {
            bytes: self.rest.split_to(usize::from(len)),
            in_hyper: self.flow.hand_over(len),
        })
    }

    /// The body has failed, and hyper resets the stream once it knows, which takes back whatever is not on the wire by then: so
    /// the error waits for the last piece to be written. If there is none, an empty one says when the head is.
    fn poll_failed(
        &mut self,
        error: axum::Error,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, axum::Error>>> {
        if self.has_begun && self.flow.poll_written(cx.waker()) {
            return Poll::Ready(Some(Err(error)));
        }
        self.failed = Some(error);
        if self.has_begun {
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(self.hand_over(0))))
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

impl HttpBody for Pieces {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, axum::Error>>> {
        let this = &mut *self;
        if let Some(error) = this.failed.take() {
            return this.poll_failed(error, cx);
        }
        let flow = &this.flow;
        if !flow.poll_room(UNSENT_OF_STREAM, UNSENT_OF_CONNECTION, cx.waker()) {
            return Poll::Pending;
        }
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                    }
                },
                Some(Err(error)) => return this.poll_failed(error, cx),
                None => return Poll::Ready(None),
            }
        }
        let len = u16::try_from(this.rest.len()).map_or(PIECE, |len| len.min(PIECE));
        Poll::Ready(Some(Ok(this.hand_over(len))))
    }

    fn is_end_stream(&self) -> bool {
        // A body that has failed may be at its end, but the error is still to come.
        self.failed.is_none() && self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.failed.is_some() {
            return SizeHint::default();
        }
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}
