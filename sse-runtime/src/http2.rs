//! [`Streams`]: the streams of an HTTP/2 connection, each in a task of its own, which gives its client up when that takes
//! nothing.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tokio_util::task::TaskTracker;

use crate::{flow::Flow, keep_alive::poll_unconstrained};

/// What every client of HTTP/2 begins with, and none of HTTP/1.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How many streams one HTTP/2 connection may have open: a browser has one connection for all its tabs, and a proxy one for
/// many browsers.
pub(crate) const STREAMS: u32 = 1_000;

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

/// Tells the task that this runs in by what it sees whether its client takes anything.
pub(crate) fn drive(flow: &Flow) {
    // Outside of such a task there is nobody to tell.
    let _ = DRIVEN.try_with(|driven| driven.set(flow.clone()));
}

pin_project! {
    /// Drives one stream, and gives it up when its client takes nothing for too long: dropping it resets the stream.
    struct Driven<F> {
        #[pin]
        stream: Option<F>,
        flow: Arc<OnceLock<Flow>>,
        send_timeout: Duration,
        // Runs while the client takes nothing, since so many pieces were handed over.
        #[pin]
        blocked: Option<Sleep>,
        since: u64,
    }
}

impl<F> Driven<F> {
    fn new(stream: F, send_timeout: Duration) -> Self {
        Self {
            stream: Some(stream),
            flow: Arc::default(),
            send_timeout,
            blocked: None,
            since: 0,
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
        let Some((flow, handed_over)) = this
            .flow
            .get()
            .and_then(|flow| Some((flow, flow.waits_behind()?)))
        else {
            this.blocked.set(None);
            return Poll::Pending;
        };
        if this.blocked.is_none() || *this.since != handed_over {
            *this.since = handed_over;
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

/// How much hyper is handed at once, in bytes: a frame of HTTP/2, by default.
///
/// It takes whatever it is handed as soon as the client has room for a byte of it, holds it for as long as the client
/// likes, and asks for more. So what waits has to wait before it, where it is seen.
const PIECE: usize = 16 * 1024;

/// A response's body, in pieces, which says when hyper asks for them.
#[derive(Debug)]
pub(crate) struct Pieces {
    body: Body,
    /// What is left of a frame.
    rest: Bytes,
    flow: Flow,
}

impl Pieces {
    pub(crate) fn of(body: Body, flow: Flow) -> Body {
        if body.is_end_stream() {
            return body;
        }
        Body::new(Self {
            body,
            rest: Bytes::new(),
            flow,
        })
    }
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        this.flow.asked();
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        this.flow.handed_over();
        let len = this.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(this.rest.split_to(len)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}
