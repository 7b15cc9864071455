//! [`Flow`]: what a stream on an HTTP/2 connection has handed to hyper, and whether its client takes it.
//!
//! On HTTP/1 a socket that cannot be written to is all there is to see. A stream of an HTTP/2 connection can be held back by
//! its client alone, and hyper then does not poll its body, so nothing in the body can notice. The state that decides is
//! therefore kept here, where hyper's calls go through, and is shared with the request.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
#[cfg(feature = "http2")]
use std::{
    sync::atomic::{AtomicU64, AtomicUsize},
    task::Waker,
};

#[cfg(feature = "http2")]
use atomic_waker::AtomicWaker;

/// State shared by the task that drives a stream, the stream's body, the pieces of it that hyper holds, and the request.
// A counter orders nothing but itself; the waker orders a released piece before the look that follows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flow(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// What hyper holds of this stream, and of its whole connection.
    #[cfg(feature = "http2")]
    unsent: Unsent,
    #[cfg(feature = "http2")]
    connection: Arc<Unsent>,
    /// Pieces that hyper was handed and pieces that it has written, added up: it changes whenever the stream progresses.
    #[cfg(feature = "http2")]
    progress: AtomicU64,
    /// Whether the client has to take something before the stream goes on.
    #[cfg(feature = "http2")]
    is_blocked: AtomicBool,
    /// Woken when hyper holds no more than `resume_at` pieces of this stream: half of what it held when the stream began to
    /// wait, since to wake it for each of them costs more than an event.
    #[cfg(feature = "http2")]
    waiting: AtomicWaker,
    #[cfg(feature = "http2")]
    resume_at: AtomicUsize,
    is_stalled: AtomicBool,
}

impl Flow {
    /// Whether the stream was reset because its client stopped reading.
    pub(crate) fn is_stalled(&self) -> bool {
        self.0.is_stalled.load(Ordering::Relaxed)
    }
}

/// Pieces of bodies that hyper holds and has not written to the socket.
#[cfg(feature = "http2")]
#[derive(Debug, Default)]
pub(crate) struct Unsent {
    pieces: AtomicUsize,
    bytes: AtomicUsize,
}

/// An upper bound of [`Unsent`].
#[cfg(feature = "http2")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// A small piece costs hyper more than the bytes that it holds.
    pub(crate) pieces: usize,
    pub(crate) bytes: usize,
}

#[cfg(feature = "http2")]
impl Unsent {
    // A stream that waits sets the count at which it is woken before it looks at this one, and a piece that is written is
    // taken off this one before it looks at that, so that one of the two sees the other.
    fn pieces(&self) -> usize {
        self.pieces.load(Ordering::SeqCst)
    }

    fn is_below(&self, bound: Bound) -> bool {
        self.pieces() < bound.pieces && self.bytes.load(Ordering::Relaxed) < bound.bytes
    }

    fn add(&self, bytes: usize) {
        self.pieces.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How many pieces are left.
    fn remove(&self, bytes: usize) -> usize {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.pieces.fetch_sub(1, Ordering::SeqCst) - 1
    }
}

#[cfg(feature = "http2")]
impl Flow {
    /// The flow of a new stream of a connection.
    pub(crate) fn new(connection: &Arc<Unsent>) -> Self {
        Self(Arc::new(State {
            connection: Arc::clone(connection),
            ..State::default()
        }))
    }

    /// Whether hyper may be handed another piece.
    ///
    /// A stream of which hyper holds nothing always may: else streams whose clients do not read would block the others of
    /// their connection.
    fn has_room(&self, stream: Bound, connection: Bound) -> bool {
        let State {
            unsent,
            connection: all,
            ..
        } = &*self.0;
        unsent.pieces() == 0 || unsent.is_below(stream) && all.is_below(connection)
    }

    /// hyper asks for the next piece: whether there is room for it. If not, `waker` is woken when hyper has written some of
    /// this stream.
    pub(crate) fn poll_room(&self, stream: Bound, connection: Bound, waker: &Waker) -> bool {
        let has_room = loop {
            if self.has_room(stream, connection) {
                break true;
            }
            let State {
                unsent,
                waiting,
                resume_at,
                ..
            } = &*self.0;
            let half = unsent.pieces() / 2;
            resume_at.store(half, Ordering::SeqCst);
            waiting.register(waker);
            if unsent.pieces() > half {
                break false;
            }
        };
        self.0.is_blocked.store(!has_room, Ordering::Relaxed);
        has_room
    }

    /// Whether hyper holds nothing of this stream. If it does, `waker` is woken when hyper has written all of it.
    pub(crate) fn poll_written(&self, waker: &Waker) -> bool {
        let State {
            unsent,
            waiting,
            resume_at,
            ..
        } = &*self.0;
        resume_at.store(0, Ordering::SeqCst);
        waiting.register(waker);
        let is_written = unsent.pieces() == 0;
        self.0.is_blocked.store(!is_written, Ordering::Relaxed);
        is_written
    }

    /// hyper is handed a piece. It asks for the next once the client has room for a byte of this one.
    pub(crate) fn hand_over(&self, bytes: usize) -> InHyper {
        self.0.unsent.add(bytes);
        self.0.connection.add(bytes);
        self.0.progress.fetch_add(1, Ordering::Relaxed);
        self.0.is_blocked.store(true, Ordering::Relaxed);
        InHyper {
            flow: self.clone(),
            bytes,
        }
    }

    /// The progress that the stream has made so far, if it cannot go on before its client takes something.
    pub(crate) fn blocked_since(&self) -> Option<u64> {
        let is_blocked = self.0.is_blocked.load(Ordering::Relaxed);
        is_blocked.then(|| self.0.progress.load(Ordering::Relaxed))
    }

    /// The stream is reset because its client stopped reading.
    pub(crate) fn set_stalled(&self) {
        self.0.is_stalled.store(true, Ordering::Relaxed);
    }
}

/// A piece that hyper holds; dropped when it is written, or its stream is gone.
#[cfg(feature = "http2")]
#[derive(Debug)]
pub(crate) struct InHyper {
    flow: Flow,
    bytes: usize,
}

#[cfg(feature = "http2")]
impl Drop for InHyper {
    fn drop(&mut self) {
        let State {
            unsent,
            connection,
            progress,
            waiting,
            resume_at,
            ..
        } = &*self.flow.0;
        connection.remove(self.bytes);
        progress.fetch_add(1, Ordering::Relaxed);
        if unsent.remove(self.bytes) <= resume_at.load(Ordering::SeqCst) {
            waiting.wake();
        }
    }
}
