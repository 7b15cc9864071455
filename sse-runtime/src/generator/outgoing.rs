//! [`Outgoing`]: the frames that a generator has written but the body has not taken yet, and the
//! stream state that the generator and the body share.
//!
//! # States
//!
//! | turn | entered when | the body then |
//! | --- | --- | --- |
//! | `Runs` | the body polls the generator | takes the frames as soon as the generator waits for something else |
//! | `Stops` | a frame is due, or no more frames can be written | takes the frames, and polls the generator again once they are flushed; nothing else wakes the generator |
//! | `RestDue` | only some of the frames were taken | takes the rest before it polls the generator |
//!
//! Regardless of the turn, the stream is in [`Phase::Prelude`] until the function reaches its first
//! `yield_!`. No frame is written after a [`WriteFailure`].

use std::{error::Error, mem, sync::Arc};

use bytes::{Bytes, BytesMut};

use crate::{
    config::{Endpoint, Flush},
    event::{
        frame::{self, EncodeError, Fields},
        gap::Gap,
        id::EventId,
    },
    generator::{
        client_ids::ClientIds, frame_buffer::FrameBuffer, reading::Topics, run_failure::Failure,
    },
    lifecycle::close_reason::CloseReason,
};

/// The frames that the generator has written but the body has not taken yet, and the stream state.
#[derive(Debug, Default)]
pub struct Outgoing {
    pub(crate) frames: FrameBuffer,
    /// The number of events in the frames.
    events: u64,
    pub(crate) ids: ClientIds,
    pub(crate) topics: Topics,
    rules: Rules,
    phase: Phase,
    turn: Turn,
    next: Next,
    failure: Option<WriteFailure>,
    returning: Returning,
}

/// The endpoint's rules about which frames may be written.
#[derive(Debug)]
struct Rules {
    flush: Flush,
    /// Whether `gap` events may be written.
    sends_gaps: bool,
    /// Whether frames that contain only an id may be written.
    sends_bare_ids: bool,
    /// Whether the response is aborted if the stream is closed early.
    aborts_when_cut: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            flush: Flush::default(),
            sends_gaps: true,
            sends_bare_ids: true,
            aborts_when_cut: false,
        }
    }
}

/// The function's progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// The function is running the statements that precede the response.
    #[default]
    Prelude,
    /// The response has begun.
    Streaming,
}

/// Whether it is the generator's turn or the body's. See the module docs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Turn {
    #[default]
    Runs,
    Stops,
    RestDue,
}

/// The response to a client whose `Last-Event-ID` header contains the id of a finished stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Returning {
    /// The generator's output, as for any other client. Either the client has not sent such an id,
    /// or the id belongs to a different topic.
    #[default]
    Reads,
    /// Undecided, because the generator has not used the id yet.
    Unknown,
    /// A `204`, because the id belongs to the topic that the generator reads.
    Stops,
}

/// The reason why no more frames can be written.
#[derive(Debug)]
pub(crate) enum WriteFailure {
    Encode(EncodeError),
    /// Events are missing, but the endpoint cannot send a `gap` event because it sends only the
    /// values that its function yields.
    // Boxed because few streams ever have a gap.
    Gap(Box<Gap>),
    /// A run that the stream reads has failed, and the generator has since tried to write another
    /// frame.
    Run(Arc<Failure>),
    /// An upstream that the stream relays has broken off.
    // Boxed twice, because a fat pointer would enlarge every stream.
    Upstream(Box<UpstreamError>),
}

/// The error of an upstream that a stream relays.
#[derive(Debug)]
pub(crate) struct UpstreamError(pub(crate) Box<dyn Error + Send + Sync>);

impl WriteFailure {
    /// Returns the stream's close reason.
    pub(crate) fn reason(&self) -> CloseReason {
        match self {
            Self::Encode(_) | Self::Gap(_) | Self::Upstream(_) => CloseReason::Failed,
            Self::Run(failure) => failure.reason,
        }
    }
}

/// Indicates what follows the frame just written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Next {
    /// Depends on the generator.
    #[default]
    Unknown,
    /// More frames follow immediately. They are sent together.
    Others,
    /// The writer is about to wait, and will be woken when there is more to write.
    Wait,
}

/// The bytes taken after the generator was polled.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The frames. Empty if none were written.
    pub(crate) bytes: Bytes,
    pub(crate) events: u64,
    /// Whether the generator is waiting and will be woken. If so, it does not need to be polled
    /// until then.
    pub(crate) waits: bool,
}

/// Whether a generator stops after it has written a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stop {
    No,
    /// The generator stops until the body has taken the frame.
    UntilTaken,
    /// The generator stops only for this poll, because no frame was written. If it did not stop, a
    /// loop of yields that write no frame would starve other tasks.
    Yields,
}

impl Outgoing {
    /// Applies the request's last event ID and the endpoint's settings. Called before the generator
    /// is polled for the first time.
    pub(crate) fn open(&mut self, endpoint: &Endpoint, last_id: Option<EventId>) {
        self.rules = Rules {
            flush: endpoint.flush,
            sends_gaps: endpoint.sends_framework_events(),
            sends_bare_ids: endpoint.sends_bare_ids(),
            aborts_when_cut: endpoint.aborts_when_cut(),
        };
        self.ids = ClientIds::new(last_id);
    }

    /// Returns the buffer to write frames to. A lone shared frame must be settled first, as in
    /// [`Handoff::write`].
    ///
    /// [`Handoff::write`]: crate::generator::handoff::Handoff::write
    #[inline]
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.frames.buffer
    }

    pub(crate) fn aborts_when_cut(&self) -> bool {
        self.rules.aborts_when_cut
    }

    /// Records that the response has begun. Returns whether it had begun before.
    #[inline]
    pub(crate) fn begin(&mut self) -> bool {
        mem::replace(&mut self.phase, Phase::Streaming) == Phase::Streaming
    }

    #[inline]
    pub(crate) fn has_begun(&self) -> bool {
        self.phase == Phase::Streaming
    }

    /// Returns whether the generator has stopped so that the body can take the frames.
    pub(crate) fn has_stopped(&self) -> bool {
        self.turn == Turn::Stops
    }

    /// Records that the client has reconnected with the last event ID of a finished stream.
    pub(crate) fn open_for_done(&mut self) {
        self.returning = Returning::Unknown;
    }

    pub(crate) fn returning(&self) -> Returning {
        self.returning
    }

    /// Records that a topic is being read from the position given by the client's last event ID.
    /// `is_done` is `true` if the client has received the end of that topic.
    pub(crate) fn judge(&mut self, is_done: bool) {
        if self.returning == Returning::Unknown {
            self.returning = match is_done {
                true => Returning::Stops,
                false => Returning::Reads,
            };
        }
    }

    /// Returns whether the response has content: a yielded value, a gap to report to the client, or
    /// a failure. The start of the response also counts as content, unless it is still undecided
    /// whether the client gets a `204`.
    pub(crate) fn has_content(&self) -> bool {
        let begins = self.has_begun() && self.returning != Returning::Unknown;
        begins || !self.frames.is_empty() || self.has_failure()
    }

    /// Returns whether the stream has failed to send a value or reads a run that has failed.
    #[inline]
    pub(crate) fn has_failure(&self) -> bool {
        self.failure.is_some() || self.topics.failure.is_some()
    }

    /// Takes the reason why no more frames can be written, if any.
    #[inline]
    pub(crate) fn take_failure(&mut self) -> Option<WriteFailure> {
        self.failure.take()
    }

    /// Records that an event with this id has been written.
    #[inline]
    pub(crate) fn wrote(&mut self, id: Option<EventId>) {
        self.wrote_together(1, id);
    }

    /// Records that several events have been written and that the last one has this id.
    #[inline]
    pub(crate) fn wrote_together(&mut self, events: u64, id: Option<EventId>) {
        self.events += events;
        self.ids.remember(id);
    }

    #[inline]
    pub(crate) fn followed_by(&mut self, next: Next) {
        self.next = next;
    }

    /// Begins a frame. Returns `false` if no more frames can be written.
    #[inline]
    pub(crate) fn begin_frame(&mut self) -> bool {
        self.begin();
        if self.has_failure() {
            self.refuse_write();
            return false;
        }
        self.frames.settle();
        self.next = Next::Unknown;
        true
    }

    /// Ends the frame that started at byte `before` of the buffer and returns whether the generator
    /// must stop after the frame.
    #[inline]
    pub(crate) fn end_frame(&mut self, before: usize, written: Result<(), EncodeError>) -> Stop {
        match written {
            Err(error) => {
                self.failure = Some(WriteFailure::Encode(error));
                self.turn = Turn::Stops;
                Stop::UntilTaken
            }
            // The body finds the failure when it takes the frames, and drops the generator.
            Ok(()) if self.failure.is_some() => Stop::UntilTaken,
            // The body never takes an empty frame. A generator that waited for the body to take one
            // would never be woken.
            Ok(()) if self.frames.is_unchanged_since(before) => Stop::Yields,
            Ok(()) if self.is_due() => {
                self.turn = Turn::Stops;
                Stop::UntilTaken
            }
            Ok(()) => Stop::No,
        }
    }

    /// Returns whether the body must take the frames before the generator is resumed.
    #[inline]
    fn is_due(&self) -> bool {
        match (self.next, self.rules.flush) {
            (Next::Wait, _) => false,
            (Next::Unknown, Flush::Each) => true,
            (Next::Others, Flush::Each) | (_, Flush::Ready) => self.frames.is_full(),
        }
    }

    /// Stops the generator and turns a run's failure into the stream's failure. If more events
    /// followed the failed run's partial output, the response would look complete.
    #[cold]
    fn refuse_write(&mut self) {
        if self.failure.is_none() {
            self.failure = self.topics.failure.take().map(WriteFailure::Run);
        }
        self.turn = Turn::Stops;
    }

    /// Writes a `gap` event. If the endpoint does not send `gap` events, the stream fails instead.
    #[cold]
    pub(crate) fn write_gap(&mut self, gap: &Gap) {
        if self.rules.sends_gaps {
            self.frames.settle();
            gap.put_into(self.buffer());
            self.wrote(Some(gap.position().clone()));
        } else if self.failure.is_none() {
            self.failure = Some(WriteFailure::Gap(Box::new(gap.clone())));
        }
    }

    /// Makes the stream fail because an upstream that it relays has failed.
    ///
    /// If the stream has already failed, returns `error`, so that the caller can drop it once the
    /// handoff is unlocked. Its destructor may use topics, which lock the handoff.
    #[cold]
    #[must_use]
    pub(crate) fn upstream_failed<E>(&mut self, error: E) -> Option<E>
    where
        E: Error + Send + Sync + 'static,
    {
        self.turn = Turn::Stops;
        if self.failure.is_some() {
            return Some(error);
        }
        let error = UpstreamError(Box::new(error));
        self.failure = Some(WriteFailure::Upstream(Box::new(error)));
        None
    }

    /// Takes the id of a topic position that the client has not received yet. The id is sent with
    /// the keep-alive.
    pub(crate) fn take_read_to(&mut self) -> Option<EventId> {
        if !self.rules.sends_bare_ids {
            return None;
        }
        self.ids.take_read_to()
    }

    /// Writes the id of the start position if the client has no id from the topic yet.
    #[inline]
    fn write_start(&mut self) {
        if let Some(start) = self.ids.take_start()
            && self.rules.sends_bare_ids
        {
            let fields = Fields {
                id: Some(start.clone()),
                ..Fields::default()
            };
            frame::bare_frame(self.buffer(), &fields);
            self.ids.sent_start(start);
        }
    }

    /// Returns the number of events and bytes that have not been taken yet. These events are not
    /// counted again when they are taken.
    #[inline]
    pub(crate) fn count_rest(&mut self) -> (u64, usize) {
        (mem::take(&mut self.events), self.frames.len())
    }

    /// Takes complete frames and returns them along with the number of events written since the
    /// previous call. The bytes are empty if no frame has been written.
    #[inline]
    pub(crate) fn take(&mut self) -> (Bytes, u64) {
        // This call may take only some of the frames, but it counts the events in all of them.
        // Later calls take the rest.
        let taken = self.frames.take();
        if self.frames.has_rest() {
            self.turn = Turn::RestDue;
        } else if self.turn == Turn::RestDue {
            self.turn = Turn::Runs;
        }
        (taken, mem::take(&mut self.events))
    }

    /// Takes the frames that the generator has written. Called after the generator has returned
    /// `Pending`.
    ///
    /// # Errors
    ///
    /// Returns an error if no more frames can be written.
    #[inline]
    pub(crate) fn take_unless_failed(&mut self) -> Result<Taken, WriteFailure> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        self.write_start();
        let (bytes, events) = self.take();
        let waits = self.turn == Turn::Runs;
        if waits {
            self.frames.shrink_after_burst();
        }
        Ok(Taken {
            bytes,
            events,
            waits,
        })
    }

    /// Takes more of the frames left by the previous call to [`take`](Self::take). Returns `None`
    /// if no frames are left. It is then the generator's turn.
    #[inline]
    pub(crate) fn take_rest(&mut self) -> Option<Bytes> {
        if self.turn == Turn::RestDue {
            return Some(self.take().0);
        }
        self.turn = Turn::Runs;
        None
    }
}
