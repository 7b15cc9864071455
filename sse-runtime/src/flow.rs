//! [`Flow`]: whether the client of a stream on an HTTP/2 connection takes what it is sent.
//!
//! On HTTP/1 a socket that cannot be written to is all there is to see. Of the streams of an HTTP/2 connection one may
//! be held back by its client alone: then hyper does not poll its body, and nothing in the body can notice. So it is seen
//! where hyper asks for the body, and told to whoever has the request.

#[cfg(feature = "http2")]
use std::sync::atomic::AtomicU64;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// What the task that drives a stream and its body tell each other, and its request.
// Only that it was stalled is read in another task, when that is told by something else, so no order is needed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flow(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Pieces of the body that hyper was handed.
    #[cfg(feature = "http2")]
    handed_over: AtomicU64,
    /// Whether it has asked for more since the last of them.
    #[cfg(feature = "http2")]
    was_asked: AtomicBool,
    stalled: AtomicBool,
}

impl Flow {
    /// Whether the stream was given up because its client took nothing.
    pub(crate) fn is_stalled(&self) -> bool {
        self.0.stalled.load(Ordering::Relaxed)
    }
}

#[cfg(feature = "http2")]
impl Flow {
    /// hyper asks for more.
    pub(crate) fn asked(&self) {
        self.0.was_asked.store(true, Ordering::Relaxed);
    }

    /// hyper is handed a piece, for which it waits for room at the client before it asks for the next.
    pub(crate) fn handed_over(&self) {
        self.0.handed_over.fetch_add(1, Ordering::Relaxed);
        self.0.was_asked.store(false, Ordering::Relaxed);
    }

    /// How many pieces hyper was handed, if it has not asked for more since the last of them.
    pub(crate) fn waits_behind(&self) -> Option<u64> {
        let handed_over = self.0.handed_over.load(Ordering::Relaxed);
        let waits = handed_over > 0 && !self.0.was_asked.load(Ordering::Relaxed);
        waits.then_some(handed_over)
    }

    /// The stream is given up.
    pub(crate) fn set_stalled(&self) {
        self.0.stalled.store(true, Ordering::Relaxed);
    }
}
