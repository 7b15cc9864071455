//! [`RingCursor`]: a reader of a [`Ring`].
//!
//! ```text
//!  Gap ----------> Following <------> Newest
//!                   ^   ^
//!  Resuming --------+   |
//!     ^             Refilling
//!  Ahead
//! ```
//!
//! | stage | a read returns | next stage |
//! | --- | --- | --- |
//! | `Gap` | the gap, because the client's id cannot be resumed | `Following` |
//! | `Ahead` | nothing until the ring has caught up with the client's id, which another node has sent. That node has newer events, or has already noticed that the engine has lost some | `Resuming`, or `Following` after a gap (`rolled_back`) |
//! | `Refilling` | nothing until the emptied ring has been refilled, and then the gap. Before that, the position set by `Cursor::after_gap` is not known | `Following` |
//! | `Resuming` | the same as in `Following`, but a gap has the reason `too_old` | `Following` |
//! | `Following` | the next events, or a gap (`overtaken`) if they are no longer held | `Following`, or `Newest` after a gap with `latest_by` |
//! | `Newest` | the newest event of each key | `Following` |
//!
//! If the engine loses events that the reader has already read, the next read in any stage except
//! `Ahead` returns a gap (`rolled_back` or `other_epoch`).
//!
//! After a gap, a reader continues at its `after_gap` position, if it has one. See
//! [`Cursor::after_gap`](crate::topic::Cursor::after_gap).

use std::{
    collections::VecDeque,
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    Ring,
    detour::{AfterGap, Detour, Jump},
    start::Opening,
    state::{Branch, Located, State, branches, place as place_of},
};
use crate::{
    event::{
        gap::{Gap, GapReason},
        id::EventId,
        position::{Mark, Position},
    },
    topic::{
        Start,
        backend::{Delivery, Read, Reader},
        batch::Batch,
        engine::Place,
    },
};

pub(crate) struct RingCursor<T> {
    ring: Arc<Ring<T>>,
    stage: Stage<T>,
    /// The sequence number of the last event read.
    number: u64,
    /// The number of events after `number` that have already been reported to the client as missed,
    /// as stated in its id.
    reported: u32,
    /// The number of the ring's branches that the reader has already processed.
    branch: u32,
    /// The place of the last event read, as it appears in the id sent to the client. Its parts are
    /// separate fields, because a `Place` would need padding in every reader.
    place_number: u64,
    place_mark: Option<Mark>,
    /// The reader's slot in the ring's waiters.
    slot: u32,
    /// The position at which the reader continues after a gap, if the subscriber has set one.
    after_gap: AfterGap,
    /// Whether the client has received the end of this topic.
    is_done: bool,
}

/// Determines what the next read returns. See the module docs.
#[derive(Debug)]
pub(crate) enum Stage<T> {
    Gap(Box<Gap>),
    /// The client's id is ahead of the ring. After the repair with the number `repair`, the ring is
    /// known to contain all of the engine's newest events.
    Ahead {
        place: Place,
        repair: u64,
    },
    /// The client's id cannot be resumed, and the ring is being refilled from the engine's log.
    Refilling(GapReason),
    Resuming,
    Following,
    Newest(VecDeque<Delivery<T>>),
}

impl<T> RingCursor<T> {
    /// Creates a cursor. The caller must have reserved `slot` in the ring's waiters.
    pub(crate) fn new(
        ring: Arc<Ring<T>>,
        start: Opening<T>,
        after_gap: Option<Start>,
        slot: u32,
        branch: u32,
    ) -> Self {
        let Opening {
            stage,
            number,
            reported,
            place,
            is_done,
        } = start;
        Self {
            ring,
            stage,
            number,
            reported,
            branch,
            place_number: place.number,
            place_mark: place.mark,
            slot,
            after_gap: AfterGap::new(after_gap),
            is_done,
        }
    }

    /// Takes the initial gap or the next kept events, which must be returned before the events
    /// after `number`.
    fn take_ahead(&mut self) -> Option<Read<T>> {
        match &mut self.stage {
            Stage::Gap(_) => self.take_initial_gap().map(Read::Gap),
            Stage::Newest(kept) => {
                let batch = Batch::of(kept.iter().cloned());
                kept.drain(..batch.deliveries().len());
                let more = !kept.is_empty();
                if !more {
                    self.stage = Stage::Following;
                }
                Some(Read::Events {
                    batch,
                    more,
                    waits: false,
                })
            }
            Stage::Ahead { .. } | Stage::Refilling(_) | Stage::Resuming | Stage::Following => None,
        }
    }

    fn take_initial_gap(&mut self) -> Option<Gap> {
        match mem::replace(&mut self.stage, Stage::Following) {
            Stage::Gap(gap) => Some(*gap),
            other => {
                self.stage = other;
                None
            }
        }
    }

    /// Skips ahead because the next event is no longer held. Returns the gap, unless it has already
    /// been reported to the client in full.
    fn take_detour(&mut self, reason: GapReason, detour: Detour<T>) -> Option<Gap> {
        let Detour {
            number: resume_at,
            place,
            from,
            kept,
            counts_reported,
        } = detour;
        let superseded = resume_at - self.number - kept.len() as u64;
        // The engine may have lost some of the events that were reported.
        let missed = superseded.saturating_sub(mem::take(&mut self.reported).into());
        // If a client disconnects while it is catching up on the kept events, it receives the rest
        // of them after it reconnects. By then, the superseded events have already been reported as
        // missed. The client's id states how many there are so that they are not counted again.
        let position = match counts_reported {
            true => from.with_reported(superseded),
            false => Position::with_mark(from.epoch, place.number, place.mark),
        };
        let count = kept.len() as u64;
        let kept = (1..).zip(kept).map(|(given, (number, entry))| {
            let superseded = resume_at - number - (count - given);
            let position = entry.position().with_reported(superseded);
            Delivery {
                id: (superseded > 0).then(|| EventId::position(position)),
                ..Delivery::of(&entry)
            }
        });
        let kept: VecDeque<_> = kept.collect();
        if !kept.is_empty() {
            self.stage = Stage::Newest(kept);
        }
        self.number = resume_at;
        Place {
            number: self.place_number,
            mark: self.place_mark,
        } = place;
        // If every skipped event is kept or has already been reported, there is no gap to report.
        (missed > 0).then_some(Gap {
            reason,
            missed: Some(missed),
            position: EventId::position(position),
        })
    }

    /// Returns the position at which to continue if the reader has read events that are no longer
    /// part of the topic, or if the ring has been refilled since the reader subscribed.
    #[cold]
    fn leave_branch(&self, state: &State<T>) -> Option<Jump> {
        let (mut number, mut reason) = match self.stage {
            Stage::Refilling(reason) => (0, Some(reason)),
            _ => (self.number, None),
        };
        for branch in &state.branches[self.branch as usize..] {
            match *branch {
                // If the reader is ahead of the ring, its events may still be part of the engine's
                // log.
                Branch::Cut { kept } if number > kept && !self.is_ahead() => {
                    number = kept;
                    reason = reason.or(Some(GapReason::RolledBack));
                }
                Branch::Cut { .. } => {}
                Branch::Rebased { after } => {
                    number = after;
                    reason = Some(GapReason::OtherEpoch);
                }
            }
        }
        Some(self.jump_after(state, number, reason?))
    }

    /// Returns the position at which to continue after a gap that does not depend on the topic's
    /// overflow policy. The reader receives no event up to `number`.
    fn jump_after(&self, state: &State<T>, number: u64, reason: GapReason) -> Jump {
        let oldest = state.before_oldest();
        let start = self
            .after_gap
            .get()
            .map_or(oldest, |start| state.number_of(start));
        Jump::to(state, number.max(start), reason)
    }

    /// Returns whether the reader has to wait until the ring has been refilled, because the position
    /// at which it continues depends on the ring's newest events.
    fn waits_for_refill(&self, state: &State<T>) -> bool {
        self.after_gap.get().is_some() && state.refilling.is_some()
    }

    fn place(&self) -> Place {
        Place {
            number: self.place_number,
            mark: self.place_mark,
        }
    }

    fn is_ahead(&self) -> bool {
        matches!(self.stage, Stage::Ahead { .. })
    }

    /// Moves the reader to another position. Returns the gap to report first.
    #[cold]
    fn jump(&mut self, jump: Jump) -> Gap {
        self.stage = Stage::Following;
        self.number = jump.number;
        Place {
            number: self.place_number,
            mark: self.place_mark,
        } = jump.place;
        self.reported = 0;
        self.is_done = false;
        Gap {
            reason: jump.reason,
            missed: None,
            position: EventId::position(jump.position),
        }
    }
}

/// Checks whether the ring has caught up with the id of a client that was ahead of the ring, or
/// whose event differed from the ring's event. Returns the sequence number after which to resume,
/// or the reason for a gap if the id cannot be resumed.
#[cold]
fn catch_up<T>(state: &State<T>, place: Place, repair: u64) -> Poll<Result<u64, GapReason>> {
    let reason = match state.locate(place) {
        Located::Ahead | Located::Differs if state.checked < repair => return Poll::Pending,
        Located::At(number) => return Poll::Ready(Ok(number)),
        Located::Ahead | Located::Differs => GapReason::RolledBack,
        Located::Nowhere(reason) => reason,
    };
    Poll::Ready(Err(reason))
}

impl<T: Send + Sync + 'static> Reader<T> for RingCursor<T> {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Read<T>> {
        if let Stage::Gap(_) | Stage::Newest(_) = self.stage
            && let Some(read) = self.take_ahead()
        {
            return Poll::Ready(read);
        }
        // Dropped after the lock is released.
        let _evicted;
        let _waker;
        let _replaced;
        let mut state = self.ring.state();
        // Old events are evicted on each publish, but events can also become too old while nothing
        // is published, so evict them on each read as well.
        if self.ring.capacity.age.is_some() {
            let before = state.bytes;
            _evicted = self.ring.evict(&mut state, before);
        }
        let is_new_branch = (self.branch as usize) < state.branches.len();
        if is_new_branch || matches!(self.stage, Stage::Refilling(_)) {
            if self.waits_for_refill(&state) {
                _waker = state.waiters.wait(self.slot as usize, cx);
                return Poll::Pending;
            }
            let jump = self.leave_branch(&state);
            self.branch = branches(&state);
            if let Some(jump) = jump {
                drop(state);
                return Poll::Ready(Read::Gap(self.jump(jump)));
            }
        }
        if let Stage::Ahead { place, repair } = self.stage {
            match catch_up(&state, place, repair) {
                Poll::Pending => {
                    _waker = state.waiters.wait(self.slot as usize, cx);
                    return Poll::Pending;
                }
                Poll::Ready(Err(_)) if self.waits_for_refill(&state) => {
                    _waker = state.waiters.wait(self.slot as usize, cx);
                    return Poll::Pending;
                }
                Poll::Ready(Err(reason)) => {
                    let jump = self.jump_after(&state, 0, reason);
                    drop(state);
                    return Poll::Ready(Read::Gap(self.jump(jump)));
                }
                Poll::Ready(Ok(number)) => {
                    self.number = number;
                    self.stage = Stage::Resuming;
                }
            }
        }
        // Assign the stage only if it changes, because each assignment has to drop the previous
        // stage.
        let is_resuming = matches!(self.stage, Stage::Resuming);
        if is_resuming {
            self.stage = Stage::Following;
        }
        // If `reported` is nonzero, the client disconnected while it was catching up on the newest
        // event of each key. This reader continues with the events that remain. The superseded
        // events have already been reported as missed.
        if self.number < state.before_oldest() || self.reported > 0 {
            if self.waits_for_refill(&state) {
                if is_resuming {
                    self.stage = Stage::Resuming;
                }
                _waker = state.waiters.wait(self.slot as usize, cx);
                return Poll::Pending;
            }
            let reason = match is_resuming {
                true => GapReason::TooOld,
                false => GapReason::Overtaken,
            };
            // The id of a client that is catching up contains what it has been told was missed, which
            // only the overflow policy takes into account.
            let after_gap = self.after_gap.get().filter(|_| self.reported == 0);
            let detour = Detour::new(&state, self.place(), self.number, reason, after_gap);
            let Some(detour) = detour else {
                return Poll::Ready(Read::Lagged);
            };
            drop(state);
            return match self.take_detour(reason, detour) {
                Some(gap) => Poll::Ready(Read::Gap(gap)),
                None => self.poll_read(cx),
            };
        }
        let count = state.last - self.number;
        // The most common case: the reader has one event left to read and then waits for the next.
        let read = if count == 1
            && let Some((_, entry)) = state.held.back()
        {
            self.number += 1;
            Place {
                number: self.place_number,
                mark: self.place_mark,
            } = place_of(entry);
            Read::Event {
                delivery: Delivery::of(entry),
                waits: !state.finished,
            }
        } else if count > 0 {
            let batch;
            (batch, _replaced) = state.batch_after(self.number);
            self.number += batch.deliveries().len() as u64;
            if let Some(last) = batch.deliveries().last() {
                Place {
                    number: self.place_number,
                    mark: self.place_mark,
                } = place_of(&last.entry);
            }
            let more = self.number < state.last;
            let waits = !more && !state.finished;
            Read::Events { batch, more, waits }
        } else if let Some(failure) = &state.failure {
            return Poll::Ready(Read::Failed(Arc::clone(failure)));
        } else if state.finished {
            return Poll::Ready(Read::End);
        } else {
            _waker = state.waiters.wait(self.slot as usize, cx);
            return Poll::Pending;
        };
        if let Read::Event { waits: true, .. } | Read::Events { waits: true, .. } = read {
            _waker = state.waiters.wait(self.slot as usize, cx);
        }
        Poll::Ready(read)
    }

    fn take_gap(&mut self) -> Option<Gap> {
        self.take_initial_gap()
    }

    fn position(&self) -> EventId {
        let position = self.ring.state().position_after(self.place());
        EventId::position(position.with_reported(self.reported.into()))
    }

    fn is_done(&self) -> bool {
        self.is_done
    }

    fn has_failed(&self) -> bool {
        let state = self.ring.state();
        state.failure.as_ref().is_some_and(|end| !end.is_stop)
    }
}

impl<T> fmt::Debug for RingCursor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingCursor")
            .field("number", &self.number)
            .field("ring", &self.ring)
            .finish_non_exhaustive()
    }
}

impl<T> Drop for RingCursor<T> {
    fn drop(&mut self) {
        let left = self.ring.state().leave(self.slot as usize);
        // Drop these values after releasing the lock, because dropping a waker may drop a task
        // whose destructors acquire the lock.
        drop(left);
    }
}
