//! [`FlowControl`]: what a stream on an HTTP/2 connection has handed to hyper, and whether its client takes it.
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
    sync::atomic::{AtomicU32, AtomicU64},
    task::Waker,
    time::{Duration, Instant},
};

#[cfg(feature = "http2")]
use atomic_waker::AtomicWaker;

/// State shared by the task that drives a stream, the stream's body, the pieces of it that hyper holds, and the request.
// A counter orders nothing but itself; the waker orders a released piece before the look that follows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct FlowControl(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// What hyper holds of this stream, and of its whole connection.
    #[cfg(feature = "http2")]
    unsent: Unsent,
    #[cfg(feature = "http2")]
    connection: Arc<OfConnection>,
    /// Pieces that hyper was handed so far.
    #[cfg(feature = "http2")]
    handed_over: AtomicU64,
    /// How often hyper took bytes off a piece, to write them.
    #[cfg(feature = "http2")]
    advanced: AtomicU64,
    /// Whether the client has to take something before the stream goes on.
    #[cfg(feature = "http2")]
    is_blocked: AtomicBool,
    /// Woken when hyper holds fewer than `resume_below` pieces of this stream: half of what it held when the stream began to
    /// wait, since to wake it for each of them costs more than an event. Zero while it does not wait.
    #[cfg(feature = "http2")]
    waiting: AtomicWaker,
    #[cfg(feature = "http2")]
    resume_below: AtomicU32,
    is_stalled: AtomicBool,
}

impl FlowControl {
    /// Whether the stream was reset because its client stopped reading.
    pub(crate) fn is_stalled(&self) -> bool {
        self.0.is_stalled.load(Ordering::Relaxed)
    }
}

/// Pieces of bodies that hyper holds and has not written to the socket: how many, and their bytes.
///
/// Both in one number, since they change together, for each event and in two tasks: the pieces in its upper half.
#[cfg(feature = "http2")]
#[derive(Debug, Default)]
pub(crate) struct Unsent(AtomicU64);

/// An upper bound of [`Unsent`].
#[cfg(feature = "http2")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// A small piece costs hyper more than the bytes that it holds.
    pub(crate) pieces: u32,
    pub(crate) bytes: u32,
}

#[cfg(feature = "http2")]
impl Unsent {
    const PIECE: u64 = 1 << 32;

    // A stream that waits sets the count at which it is woken before it looks at this one, and a piece that is written is
    // taken off this one before it looks at that, so that one of the two sees the other: both are sequentially consistent.
    fn load(&self) -> (u32, u32) {
        Self::split(self.0.load(Ordering::SeqCst))
    }

    #[expect(clippy::cast_possible_truncation, reason = "these are its halves")]
    fn split(unsent: u64) -> (u32, u32) {
        ((unsent >> 32) as u32, unsent as u32)
    }

    fn is_below(&self, bound: Bound) -> bool {
        let (pieces, bytes) = self.load();
        pieces < bound.pieces && bytes < bound.bytes
    }

    fn add(&self, bytes: u16) {
        self.0
            .fetch_add(Self::PIECE + u64::from(bytes), Ordering::SeqCst);
    }

    /// How many pieces are left.
    fn remove(&self, bytes: u16) -> u32 {
        let piece = Self::PIECE + u64::from(bytes);
        let before = self.0.fetch_sub(piece, Ordering::SeqCst);
        Self::split(before - piece).0
    }
}

/// State shared by all streams of a connection.
#[cfg(feature = "http2")]
#[derive(Debug, Default)]
pub(crate) struct OfConnection {
    /// What hyper holds of all of them.
    unsent: Unsent,
    small: SmallPieces,
}

/// How many small pieces may go out at a rate of their own, over all streams of a connection.
///
/// Each is a DATA frame. The crate `h2` as a client closes the connection if about a hundred small ones wait for its app
/// (`too_many_data_frames`), and whether the app has read them is not seen here.
#[cfg(feature = "http2")]
#[derive(Debug)]
struct SmallPieces {
    start: Instant,
    /// When all that went out is forgotten, in nanoseconds after `start`.
    forgotten: AtomicU64,
}

#[cfg(feature = "http2")]
impl SmallPieces {
    /// How many may go out in a burst.
    const BURST: u32 = 48;

    /// How long until one more may follow them.
    const EACH: Duration = Duration::from_millis(10);

    /// Whether one more may go out, which is counted.
    fn admit(&self) -> bool {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let now = nanos(self.start.elapsed());
        let next = |forgotten: u64| {
            let next = forgotten.max(now) + nanos(Self::EACH);
            (next - now <= nanos(Self::EACH * Self::BURST)).then_some(next)
        };
        self.forgotten
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .is_ok()
    }
}

#[cfg(feature = "http2")]
impl Default for SmallPieces {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            forgotten: AtomicU64::new(0),
        }
    }
}

#[cfg(feature = "http2")]
impl FlowControl {
    /// The flow of a new stream of a connection.
    pub(crate) fn new(connection: &Arc<OfConnection>) -> Self {
        Self(Arc::new(State {
            connection: Arc::clone(connection),
            ..State::default()
        }))
    }

    /// hyper asks for the next piece: whether it may have it. If not, `waker` is woken when hyper has written some of this
    /// stream.
    ///
    /// A stream of which hyper holds nothing always has room: else streams whose clients do not read would block the others
    /// of their connection.
    pub(crate) fn poll_room(&self, stream: Bound, connection: Bound, waker: &Waker) -> bool {
        let state = &*self.0;
        let has_room = loop {
            let (pieces, bytes) = state.unsent.load();
            if pieces == 0
                || pieces < stream.pieces
                    && bytes < stream.bytes
                    && state.connection.unsent.is_below(connection)
            {
                break true;
            }
            let resume_below = pieces / 2 + 1;
            state.waiting.register(waker);
            state.resume_below.store(resume_below, Ordering::SeqCst);
            if state.unsent.load().0 >= resume_below {
                break false;
            }
        };
        state.is_blocked.store(!has_room, Ordering::Relaxed);
        has_room
    }

    /// Whether hyper holds nothing of this stream. If it does, `waker` is woken when hyper has written all of it.
    pub(crate) fn poll_written(&self, waker: &Waker) -> bool {
        let state = &*self.0;
        state.waiting.register(waker);
        state.resume_below.store(1, Ordering::SeqCst);
        let is_written = state.unsent.load().0 == 0;
        state.is_blocked.store(!is_written, Ordering::Relaxed);
        is_written
    }

    /// Whether a small piece may go out by itself, which is counted.
    pub(crate) fn admit_small(&self) -> bool {
        self.0.connection.small.admit()
    }

    /// hyper is handed a piece. It asks for the next once the client has room for a byte of this one.
    pub(crate) fn hand_over(&self, bytes: u16) -> InHyper {
        let state = &*self.0;
        state.unsent.add(bytes);
        state.connection.unsent.add(bytes);
        // Nobody else writes it.
        let handed_over = state.handed_over.load(Ordering::Relaxed);
        state.handed_over.store(handed_over + 1, Ordering::Relaxed);
        state.is_blocked.store(true, Ordering::Relaxed);
        InHyper {
            flow: self.clone(),
            bytes,
        }
    }

    /// The progress that the stream has made so far, if it cannot go on before its client takes something.
    pub(crate) fn blocked_since(&self) -> Option<Progress> {
        let state = &*self.0;
        state.is_blocked.load(Ordering::Relaxed).then(|| Progress {
            handed_over: state.handed_over.load(Ordering::Relaxed),
            unsent: state.unsent.load().0,
            advanced: state.advanced.load(Ordering::Relaxed),
        })
    }

    /// The stream is reset because its client stopped reading.
    pub(crate) fn set_stalled(&self) {
        self.0.is_stalled.store(true, Ordering::Relaxed);
    }
}

/// How far a stream has come: pieces that hyper was handed, how many of those it has not written, and how often it took
/// bytes off one. A client with a small window takes a piece in many parts.
#[cfg(feature = "http2")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    handed_over: u64,
    unsent: u32,
    advanced: u64,
}

/// A piece that hyper holds; dropped when it is written, or its stream is gone.
#[cfg(feature = "http2")]
#[derive(Debug)]
pub(crate) struct InHyper {
    flow: FlowControl,
    bytes: u16,
}

#[cfg(feature = "http2")]
impl InHyper {
    /// hyper took bytes off the piece.
    pub(crate) fn advance(&self) {
        self.flow.0.advanced.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(feature = "http2")]
impl Drop for InHyper {
    fn drop(&mut self) {
        let state = &*self.flow.0;
        state.connection.unsent.remove(self.bytes);
        let left = state.unsent.remove(self.bytes);
        if left < state.resume_below.load(Ordering::SeqCst) {
            state.resume_below.store(0, Ordering::SeqCst);
            state.waiting.wake();
        }
    }
}
