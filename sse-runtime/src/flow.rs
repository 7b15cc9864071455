//! [`Flow`]: whether the client of a stream on an HTTP/2 connection takes what it is sent.
//!
//! On HTTP/1 a socket that cannot be written to is all there is to see. Of the streams of an HTTP/2 connection one may
//! be held back by its client alone: then hyper does not poll its body, and nothing in the body can notice.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
#[cfg(feature = "http2")]
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

/// What the body tells the task that drives it, and the other way round.
// All of it happens in one task, so no order between the fields is needed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flow(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Pieces of frames that the body has handed over.
    handed_over: AtomicU64,
    /// Whether it was asked for more since the last of them.
    was_asked: AtomicBool,
    stalled: AtomicBool,
}

tokio::task_local! {
    static FLOW: Flow;
}

impl Flow {
    /// Of the task that this runs in, if that drives a stream of HTTP/2 under [`serve`](crate::serve()).
    pub(crate) fn current() -> Option<Self> {
        FLOW.try_with(Clone::clone).ok()
    }

    /// The body is asked for a frame.
    pub(crate) fn asked(&self) {
        self.0.was_asked.store(true, Ordering::Relaxed);
    }

    /// The body hands a piece of a frame over, for which hyper waits for room at the client before it asks for the next.
    pub(crate) fn handed_over(&self) {
        self.0.handed_over.fetch_add(1, Ordering::Relaxed);
        self.0.was_asked.store(false, Ordering::Relaxed);
    }

    /// Whether the stream was given up because its client took nothing.
    pub(crate) fn is_stalled(&self) -> bool {
        self.0.stalled.load(Ordering::Relaxed)
    }
}

#[cfg(feature = "http2")]
pin_project_lite::pin_project! {
    /// Drives one stream, and gives it up when its client takes nothing for too long: dropping it resets the stream.
    pub(crate) struct Driven<F> {
        #[pin]
        stream: Option<F>,
        flow: Flow,
        send_timeout: Duration,
        // Runs while the client takes nothing, since so many pieces were handed over.
        #[pin]
        blocked: Option<tokio::time::Sleep>,
        since: u64,
    }
}

#[cfg(feature = "http2")]
impl<F> Driven<F> {
    pub(crate) fn new(stream: F, send_timeout: Duration) -> Self {
        Self {
            stream: Some(stream),
            flow: Flow::default(),
            send_timeout,
            blocked: None,
            since: 0,
        }
    }
}

#[cfg(feature = "http2")]
impl<F: Future<Output = ()>> Future for Driven<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(stream) = this.stream.as_mut().as_pin_mut() else {
            return Poll::Ready(());
        };
        if FLOW
            .sync_scope(this.flow.clone(), || stream.poll(cx))
            .is_ready()
        {
            return Poll::Ready(());
        }
        let state = &this.flow.0;
        let handed_over = state.handed_over.load(Ordering::Relaxed);
        if handed_over == 0 || state.was_asked.load(Ordering::Relaxed) {
            this.blocked.set(None);
            return Poll::Pending;
        }
        if this.blocked.is_none() || *this.since != handed_over {
            *this.since = handed_over;
            this.blocked
                .set(Some(tokio::time::sleep(*this.send_timeout)));
        }
        if let Some(blocked) = this.blocked.as_mut().as_pin_mut() {
            ready!(crate::keep_alive::poll_unconstrained(blocked, cx));
        }
        state.stalled.store(true, Ordering::Relaxed);
        this.stream.set(None);
        Poll::Ready(())
    }
}
