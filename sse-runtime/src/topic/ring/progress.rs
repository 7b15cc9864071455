//! [`Progress`]: how far a reader has read, and what it reads next.
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

use std::{collections::VecDeque, mem, sync::Arc, task::Poll};

use super::{
    detour::{AfterGap, Detour, Jump},
    start::Opening,
    state::{Branch, CachedBatch, Located, State, branches, place as place_of},
};
use crate::{
    event::{
        gap::{Gap, GapReason},
        id::EventId,
        position::{Mark, Position},
    },
    topic::{
        Start,
        backend::{Delivery, Read},
        batch::Batch,
        engine::Place,
    },
};

pub(super) struct Progress<T> {
    pub(super) stage: Stage<T>,
    /// The sequence number of the last event read.
    pub(super) number: u64,
    /// The number of events after `number` that have already been reported to the client as missed,
    /// as stated in its id.
    pub(super) reported: u32,
    /// The number of the ring's branches that the reader has already processed.
    branch: u32,
    /// The place of the last event read, as it appears in the id sent to the client. Its parts are
    /// separate fields, because a `Place` would need padding in every reader.
    place_number: u64,
    place_mark: Option<Mark>,
    /// The reader's slot in the ring's waiters. It is stored here because it would need padding in
    /// `RingCursor`.
    pub(super) slot: u32,
    /// The position at which the reader continues after a gap, if the subscriber has set one.
    after_gap: AfterGap,
    /// Whether the client has received the end of this topic.
    pub(super) is_done: bool,
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

/// How a read proceeds, as determined by [`Progress::settle`].
pub(super) enum Settled<T> {
    /// The ring holds all events after the position.
    InPlace,
    /// The reader waits, because the ring is being refilled or repaired.
    Waits,
    /// The position is not part of the topic, so the reader continues at another position.
    Jumps(Jump),
    /// The ring no longer holds the next event, so the reader skips events.
    Detours(GapReason, Detour<T>),
    /// The ring no longer holds the next event, and the overflow policy ends the stream.
    Lags,
}

impl<T> Progress<T> {
    pub(super) fn new(start: Opening<T>, after_gap: Option<Start>, slot: u32, branch: u32) -> Self {
        let Opening {
            stage,
            number,
            reported,
            place,
            is_done,
        } = start;
        Self {
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
    pub(super) fn take_ahead(&mut self) -> Option<Read<T>> {
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

    pub(super) fn take_initial_gap(&mut self) -> Option<Gap> {
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
    pub(super) fn take_detour(&mut self, reason: GapReason, detour: Detour<T>) -> Option<Gap> {
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
        self.set_place(place);
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

    /// Returns whether the reader is in the most common state, in which it can read the events
    /// after its position. In all other states, [`settle`](Self::settle) determines what to do.
    #[inline]
    pub(super) fn is_in_place(&self, state: &State<T>) -> bool {
        matches!(self.stage, Stage::Following)
            && self.branch as usize == state.branches.len()
            && self.number >= state.before_oldest()
            && self.reported == 0
    }

    /// Determines whether the reader can read the events after its position.
    #[cold]
    pub(super) fn settle(&mut self, state: &State<T>) -> Settled<T> {
        let is_new_branch = (self.branch as usize) < state.branches.len();
        if is_new_branch || matches!(self.stage, Stage::Refilling(_)) {
            if self.waits_for_refill(state) {
                return Settled::Waits;
            }
            let jump = self.leave_branch(state);
            self.branch = branches(state);
            if let Some(jump) = jump {
                return Settled::Jumps(jump);
            }
        }
        if let Stage::Ahead { place, repair } = self.stage {
            match catch_up(state, place, repair) {
                Poll::Pending => return Settled::Waits,
                Poll::Ready(Err(_)) if self.waits_for_refill(state) => return Settled::Waits,
                Poll::Ready(Err(reason)) => {
                    return Settled::Jumps(self.jump_after(state, 0, reason));
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
            if self.waits_for_refill(state) {
                if is_resuming {
                    self.stage = Stage::Resuming;
                }
                return Settled::Waits;
            }
            let reason = match is_resuming {
                true => GapReason::TooOld,
                false => GapReason::Overtaken,
            };
            // The id of a client that is catching up contains what it has been told was missed, which
            // only the overflow policy takes into account.
            let after_gap = self.after_gap.get().filter(|_| self.reported == 0);
            return match Detour::new(state, self.place(), self.number, reason, after_gap) {
                Some(detour) => Settled::Detours(reason, detour),
                None => Settled::Lags,
            };
        }
        Settled::InPlace
    }

    /// Reads the next events after the reader's position, or the end of the topic. Returns `None`
    /// if there is nothing to read yet. The second value is the cached batch that was replaced, if
    /// any. The caller must drop it after releasing the lock.
    #[inline]
    pub(super) fn take_next(
        &mut self,
        state: &mut State<T>,
    ) -> (Option<Read<T>>, Option<CachedBatch<T>>) {
        let count = state.last - self.number;
        // The most common case: the reader has one event left to read and then waits for the next.
        if count == 1
            && let Some((_, entry)) = state.held.back()
        {
            self.number += 1;
            self.set_place(place_of(entry));
            let read = Read::Event {
                delivery: Delivery::of(entry),
                waits: !state.finished,
            };
            return (Some(read), None);
        }
        if count > 0 {
            let (batch, replaced) = state.batch_after(self.number);
            self.number += batch.deliveries().len() as u64;
            if let Some(last) = batch.deliveries().last() {
                self.set_place(place_of(&last.entry));
            }
            let more = self.number < state.last;
            let waits = !more && !state.finished;
            return (Some(Read::Events { batch, more, waits }), replaced);
        }
        let end = match &state.failure {
            Some(failure) => Some(Read::Failed(Arc::clone(failure))),
            None => state.finished.then_some(Read::End),
        };
        (end, None)
    }

    pub(super) fn place(&self) -> Place {
        Place {
            number: self.place_number,
            mark: self.place_mark,
        }
    }

    fn set_place(&mut self, place: Place) {
        self.place_number = place.number;
        self.place_mark = place.mark;
    }

    fn is_ahead(&self) -> bool {
        matches!(self.stage, Stage::Ahead { .. })
    }

    /// Moves the reader to another position. Returns the gap to report first.
    #[cold]
    pub(super) fn jump(&mut self, jump: Jump) -> Gap {
        self.stage = Stage::Following;
        self.number = jump.number;
        self.set_place(jump.place);
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
