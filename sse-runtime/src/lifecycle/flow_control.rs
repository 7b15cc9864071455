//! [`FlowControl`]: tracks how much of an HTTP/2 stream is buffered in hyper, and whether the
//! client is reading the stream.
//!
//! Over HTTP/1, if a client stops reading, writes to its socket stay pending, and the server
//! detects the stall there. An HTTP/2 client, by contrast, can block a single stream while the
//! socket remains writable. hyper then stops polling the stream's body, so the body cannot detect
//! the stall either. Instead, the stall is detected through the state in this module. The state is
//! shared with the request and is updated by hyper's calls.

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

/// The state shared by the task that drives a stream, the stream's body, its request, and its
/// pieces in hyper.
// The counters use relaxed ordering, because they do not synchronize other memory. The waker
// ensures that the stream's task, once woken, sees that a piece has been released.
#[derive(Clone, Debug, Default)]
pub(crate) struct FlowControl(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// The pieces of this stream that hyper has not written yet.
    #[cfg(feature = "http2")]
    unsent: Unsent,
    #[cfg(feature = "http2")]
    connection: Arc<OfConnection>,
    /// The number of pieces that hyper has received so far.
    #[cfg(feature = "http2")]
    handed_over: AtomicU64,
    /// The number of times that hyper has taken bytes from a piece to write them.
    #[cfg(feature = "http2")]
    advanced: AtomicU64,
    /// Whether the stream is blocked until its client reads.
    #[cfg(feature = "http2")]
    is_blocked: AtomicBool,
    /// Woken when hyper holds fewer than `resume_below` pieces of this stream. While the stream is
    /// waiting, `resume_below` is about half the number of pieces that hyper held when the wait
    /// began. Otherwise, it is zero. The stream is not woken for every piece, because each wakeup
    /// costs more than sending an event.
    #[cfg(feature = "http2")]
    waiting: AtomicWaker,
    #[cfg(feature = "http2")]
    resume_below: AtomicU32,
    is_stalled: AtomicBool,
}

impl FlowControl {
    /// Returns whether the stream was reset because its client stopped reading.
    pub(crate) fn is_stalled(&self) -> bool {
        self.0.is_stalled.load(Ordering::Relaxed)
    }
}

/// The number of pieces that hyper has not written to the socket yet, and their total size in
/// bytes.
///
/// Two tasks update both values on every event, so the values are packed into one atomic and
/// updated in a single operation. The upper half of the atomic holds the number of pieces.
#[cfg(feature = "http2")]
#[derive(Debug, Default)]
pub(crate) struct Unsent(AtomicU64);

/// An upper bound for [`Unsent`].
#[cfg(feature = "http2")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// The maximum number of pieces. This limit is needed in addition to `bytes`, because a small
    /// piece takes up more memory in hyper than its size suggests.
    pub(crate) pieces: u32,
    pub(crate) bytes: u32,
}

#[cfg(feature = "http2")]
impl Unsent {
    const PIECE: u64 = 1 << 32;

    // A waiting stream sets `resume_below` before it reads this count. Once a piece has been
    // written, it is removed from this count before `resume_below` is read. All of these accesses
    // are sequentially consistent, so at least one side sees the other side's write, and no wakeup
    // is missed.
    fn load(&self) -> (u32, u32) {
        Self::split(self.0.load(Ordering::SeqCst))
    }

    #[expect(clippy::cast_possible_truncation, reason = "these are the halves")]
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

    /// Removes a piece and returns the number of remaining pieces.
    fn remove(&self, bytes: u16) -> u32 {
        let piece = Self::PIECE + u64::from(bytes);
        let before = self.0.fetch_sub(piece, Ordering::SeqCst);
        Self::split(before - piece).0
    }
}

/// The state shared by all streams on a connection.
#[cfg(feature = "http2")]
#[derive(Debug, Default)]
pub(crate) struct OfConnection {
    /// The pieces of all streams that hyper has not written yet.
    unsent: Unsent,
    small: SmallPieces,
}

/// A rate limit for small pieces that are sent on their own. All streams on a connection share one
/// limit.
///
/// Each piece is a DATA frame. A client using the `h2` crate closes the connection once its
/// application has left about a hundred small frames unread (`too_many_data_frames`). The server
/// cannot see whether the application has read the frames, so it limits the rate at which it sends
/// them.
#[cfg(feature = "http2")]
#[derive(Debug)]
struct SmallPieces {
    start: Instant,
    /// The time, in nanoseconds since `start`, after which the pieces sent so far no longer count.
    forgotten: AtomicU64,
}

#[cfg(feature = "http2")]
impl SmallPieces {
    /// The number of pieces that may be sent in a burst.
    const BURST: u32 = 48;

    /// The interval at which single pieces may be sent after a burst.
    const EACH: Duration = Duration::from_millis(10);

    /// Counts another piece and returns `true`, or returns `false` if the piece may not be sent
    /// yet.
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
    /// Creates the state for a new stream on a connection.
    pub(crate) fn new(connection: &Arc<OfConnection>) -> Self {
        Self(Arc::new(State {
            connection: Arc::clone(connection),
            ..State::default()
        }))
    }

    /// Called when hyper polls for the next piece. Returns whether that piece can be handed over.
    /// If not, `waker` is woken when hyper has written some pieces of this stream.
    ///
    /// A stream can always hand over a piece if hyper holds none of its other pieces. Otherwise,
    /// streams that the client does not read could use up the connection's limit and block all
    /// other streams on the connection.
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

    /// Returns whether hyper has written all pieces of this stream. If not, `waker` is woken when
    /// hyper has written them.
    pub(crate) fn poll_written(&self, waker: &Waker) -> bool {
        let state = &*self.0;
        state.waiting.register(waker);
        state.resume_below.store(1, Ordering::SeqCst);
        let is_written = state.unsent.load().0 == 0;
        state.is_blocked.store(!is_written, Ordering::Relaxed);
        is_written
    }

    /// Counts a small piece and returns `true`, or returns `false` if the piece may not be sent on
    /// its own yet.
    pub(crate) fn admit_small(&self) -> bool {
        self.0.connection.small.admit()
    }

    /// Counts a piece handed to hyper, and marks the stream as blocked until hyper polls for the
    /// next piece. hyper polls for it as soon as the client's window has room for one byte of this
    /// one.
    pub(crate) fn hand_over(&self, bytes: u16) -> InHyper {
        let state = &*self.0;
        state.unsent.add(bytes);
        state.connection.unsent.add(bytes);
        // A load and a store are sufficient, because no other code writes to this counter.
        let handed_over = state.handed_over.load(Ordering::Relaxed);
        state.handed_over.store(handed_over + 1, Ordering::Relaxed);
        state.is_blocked.store(true, Ordering::Relaxed);
        InHyper {
            flow: self.clone(),
            bytes,
        }
    }

    /// Returns the stream's progress so far if the stream is blocked until its client reads, and
    /// `None` otherwise.
    pub(crate) fn blocked_since(&self) -> Option<Progress> {
        let state = &*self.0;
        state.is_blocked.load(Ordering::Relaxed).then(|| Progress {
            handed_over: state.handed_over.load(Ordering::Relaxed),
            unsent: state.unsent.load().0,
            advanced: state.advanced.load(Ordering::Relaxed),
        })
    }

    /// Records that the stream is reset because its client stopped reading.
    pub(crate) fn set_stalled(&self) {
        self.0.is_stalled.store(true, Ordering::Relaxed);
    }
}

/// A stream's progress: the number of pieces that hyper has received, the number of pieces that it
/// has not written yet, and the number of times that it has taken bytes from a piece. The third
/// value is needed because hyper writes a piece in many parts if the client's window is small.
#[cfg(feature = "http2")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    handed_over: u64,
    unsent: u32,
    advanced: u64,
}

/// A piece handed to hyper. Dropped once the piece has been written, or when the piece's stream is
/// dropped.
#[cfg(feature = "http2")]
#[derive(Debug)]
pub(crate) struct InHyper {
    flow: FlowControl,
    bytes: u16,
}

#[cfg(feature = "http2")]
impl InHyper {
    /// Records that hyper has taken bytes from the piece.
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
