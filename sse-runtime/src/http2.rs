//! [`Streams`]: the streams of an HTTP/2 connection, each in a task of its own, which gives its client up when that takes
//! nothing.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tokio_util::task::TaskTracker;

use crate::{flow::Flow, keep_alive::poll_unconstrained};

/// What every client of HTTP/2 begins with, and none of HTTP/1.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How many streams one HTTP/2 connection may have open: a browser has one connection for all its tabs, and a proxy one for
/// many browsers.
pub(crate) const STREAMS: u32 = 1_000;

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

pin_project! {
    /// Drives one stream, and gives it up when its client takes nothing for too long: dropping it resets the stream.
    struct Driven<F> {
        #[pin]
        stream: Option<F>,
        flow: Flow,
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
            flow: Flow::default(),
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
        if this.flow.scope(|| stream.poll(cx)).is_ready() {
            return Poll::Ready(());
        }
        let Some(handed_over) = this.flow.waits_behind() else {
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
        this.flow.set_stalled();
        this.stream.set(None);
        Poll::Ready(())
    }
}
