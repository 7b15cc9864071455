//! [`Handoff`]: state shared by the generator and the body. The generator writes frames, and the
//! body takes them.
//!
//! The body polls the generator in the same task, so the lock is never contended. The lock makes
//! the pair `Send` without `unsafe`. No queue is needed, because the generator stops when frames
//! are due and does not continue until the body has taken them.

use std::{
    cell::RefCell,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use crate::{
    config::Endpoint,
    event::{frame::EncodeError, gap::Gap, id::EventId},
    generator::{
        outgoing::{Outgoing, Returning, Stop, Taken, WriteFailure},
        reading::{Reading, TopicEnd},
        run_failure::Failure,
    },
};

#[derive(Clone, Debug, Default)]
pub(crate) struct Handoff(Arc<Mutex<Outgoing>>);

/// A frame that is being written. During the write, a user's `Serialize` implementation may run and
/// read a topic. The current handoff is hidden during the write so that a topic read there does not
/// count as read by this stream.
struct Writing<'a> {
    /// The number of bytes before the frame was written.
    before: usize,
    outgoing: MutexGuard<'a, Outgoing>,
    _hidden: Entered,
}

impl Writing<'_> {
    // Destructured so that each field's destructor is inlined.
    #[inline]
    fn end(self, written: Result<(), EncodeError>) -> Stop {
        let Self {
            before,
            mut outgoing,
            _hidden,
        } = self;
        outgoing.end_frame(before, written)
    }
}

impl Handoff {
    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, Outgoing> {
        // The lock is poisoned if a user's `Serialize` implementation panics while the lock is
        // held. In that case, the incomplete frame has been removed, so the state is still valid.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`Outgoing::open`].
    pub(crate) fn open(&self, endpoint: &Endpoint, last_id: Option<EventId>) {
        self.lock().open(endpoint, last_id);
    }

    /// See [`Outgoing::begin`].
    pub(crate) fn begin(&self) -> bool {
        self.lock().begin()
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.lock().has_begun()
    }

    pub(crate) fn has_stopped(&self) -> bool {
        self.lock().has_stopped()
    }

    pub(crate) fn open_for_done(&self) {
        self.lock().open_for_done();
    }

    pub(crate) fn returning(&self) -> Returning {
        self.lock().returning()
    }

    /// Returns whether any frames are left to take.
    pub(crate) fn is_written_to(&self) -> bool {
        !self.lock().frames.is_empty()
    }

    pub(crate) fn has_content(&self) -> bool {
        self.lock().has_content()
    }

    #[inline]
    pub(crate) fn has_failure(&self) -> bool {
        self.lock().has_failure()
    }

    /// Calls `write` to add a frame and returns whether the generator must stop after the frame. No
    /// frame is added after a failure, including the failure of a run that the stream reads.
    pub(crate) fn write(
        &self,
        write: impl FnOnce(&mut Outgoing) -> Result<(), EncodeError>,
    ) -> Stop {
        let Some(mut writing) = self.start_write() else {
            return Stop::UntilTaken;
        };
        let written = write(&mut writing.outgoing);
        writing.end(written)
    }

    // Separate from `write`, which is generic and instantiated for every endpoint, so that this
    // part is compiled only once.
    fn start_write(&self) -> Option<Writing<'_>> {
        let hidden = Entered(CURRENT.take());
        let mut outgoing = self.lock();
        outgoing.begin_frame().then(|| Writing {
            before: outgoing.frames.len(),
            outgoing,
            _hidden: hidden,
        })
    }

    /// Calls `write` to add the error that ends the stream, even if a run that the stream reads has
    /// failed.
    pub(crate) fn write_error(&self, write: impl FnOnce(&mut Outgoing) -> Result<(), EncodeError>) {
        self.lock().topics.failure = None;
        self.write(write);
    }

    /// Calls `write` to add the stream's last frame, even after a failure.
    pub(crate) fn write_last(&self, write: impl FnOnce(&mut Outgoing)) {
        let mut outgoing = self.lock();
        outgoing.frames.settle();
        write(&mut outgoing);
    }

    /// See [`Outgoing::write_gap`].
    pub(crate) fn write_gap(&self, gap: &Gap) {
        self.lock().write_gap(gap);
    }

    /// See [`Outgoing::count_rest`].
    pub(crate) fn count_rest(&self) -> (u64, usize) {
        self.lock().count_rest()
    }

    /// See [`Outgoing::take`].
    pub(crate) fn take(&self) -> (Bytes, u64) {
        self.lock().take()
    }

    /// See [`Outgoing::take_unless_failed`].
    #[inline]
    pub(crate) fn take_unless_failed(&self) -> Result<Taken, WriteFailure> {
        self.lock().take_unless_failed()
    }

    /// See [`Outgoing::take_rest`].
    #[inline]
    pub(crate) fn take_rest(&self) -> Option<Bytes> {
        self.lock().take_rest()
    }

    /// See [`Outgoing::take_read_to`].
    pub(crate) fn take_read_to(&self) -> Option<EventId> {
        self.lock().take_read_to()
    }

    /// See [`Outgoing::take_failure`].
    pub(crate) fn take_failure(&self) -> Option<WriteFailure> {
        self.lock().take_failure()
    }

    /// Registers a topic that this stream has started to read.
    pub(crate) fn read_topic(&self) -> Reading {
        self.lock().topics.begin(self.clone())
    }

    pub(crate) fn topic_end(&self) -> Option<TopicEnd> {
        self.lock().topics.end()
    }

    /// Returns the failure of a run that the stream reads, if any.
    pub(crate) fn topic_failure(&self) -> Option<Arc<Failure>> {
        self.lock().topics.failure.clone()
    }

    /// Makes `self` the current handoff for all code run by the generator, until the guard is
    /// dropped.
    pub(crate) fn enter(&self) -> Entered {
        Entered(CURRENT.replace(Some(self.clone())))
    }

    /// Runs `f` with the handoff of the stream whose generator is being polled, if there is one.
    pub(crate) fn with_current<R>(f: impl FnOnce(&Self) -> R) -> Option<R> {
        CURRENT.with_borrow(|current| current.as_ref().map(f))
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Handoff>> = const { RefCell::new(None) };
}

/// The scope of [`Handoff::enter`]. Dropping this value restores the previous handoff.
#[derive(Debug)]
pub(crate) struct Entered(Option<Handoff>);

impl Drop for Entered {
    fn drop(&mut self) {
        // `replace` is cheaper here than `set`, which first checks whether the thread-local has
        // been initialized.
        drop(CURRENT.replace(self.0.take()));
    }
}
