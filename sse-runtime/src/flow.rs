//! [`Flow`]: whether the client of a stream on an HTTP/2 connection takes what it is sent.
//!
//! On HTTP/1 a socket that cannot be written to is all there is to see. Of the streams of an HTTP/2 connection one may
//! be held back by its client alone: then hyper does not poll its body, and nothing in the body can notice.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
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

    /// How many pieces the body has handed over, if it was not asked for more since the last of them.
    #[cfg(feature = "http2")]
    pub(crate) fn waits_behind(&self) -> Option<u64> {
        let handed_over = self.0.handed_over.load(Ordering::Relaxed);
        let waits = handed_over > 0 && !self.0.was_asked.load(Ordering::Relaxed);
        waits.then_some(handed_over)
    }

    /// The stream is given up.
    #[cfg(feature = "http2")]
    pub(crate) fn set_stalled(&self) {
        self.0.stalled.store(true, Ordering::Relaxed);
    }

    /// Runs `poll` as a part of the task that drives this stream.
    #[cfg(feature = "http2")]
    pub(crate) fn scope<R>(&self, poll: impl FnOnce() -> R) -> R {
        FLOW.sync_scope(self.clone(), poll)
    }

    /// Whether the stream was given up because its client took nothing.
    pub(crate) fn is_stalled(&self) -> bool {
        self.0.stalled.load(Ordering::Relaxed)
    }
}
