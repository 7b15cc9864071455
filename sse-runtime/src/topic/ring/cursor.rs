//! [`RingCursor`]: a reader of a [`Ring`].
//!
//! ```text
//!  Gap ----------> Following <------> Newest
//!                     ^
//!  Resuming ----------+
//! ```
//!
//! | stage | a read returns | next stage |
//! | --- | --- | --- |
//! | `Gap` | the gap, because the client's id cannot be resumed | `Following` |
//! | `Resuming` | the same as in `Following`, but a gap has the reason `too_old` | `Following` |
//! | `Following` | the next events, or a gap (`overtaken`) if they are no longer held | `Following`, or `Newest` after a gap with `latest_by` |
//! | `Newest` | the newest event of each key | `Following` |

use std::{
    collections::VecDeque,
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use super::{Ring, overflow::Overflow, state::State};
use crate::{
    event::{
        gap::{Gap, GapReason},
        id::EventId,
    },
    topic::{
        backend::{Delivery, Entry, Read, Reader},
        batch::Batch,
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
    /// The reader's slot in the ring's waiters.
    slot: usize,
    /// Whether the client has received the end of this topic.
    is_done: bool,
}

/// Determines what the next read returns. See the module docs.
#[derive(Debug)]
pub(crate) enum Stage<T> {
    Gap(Box<Gap>),
    Resuming,
    Following,
    Newest(VecDeque<Delivery<T>>),
}

/// The position at which a reader continues if its next event is no longer held.
struct Detour<T> {
    number: u64,
    /// The events up to `number` that the reader still receives, with their sequence numbers.
    kept: Vec<(u64, Arc<Entry<T>>)>,
    /// Whether the ids sent to the client also state how many later events have already been
    /// reported as missed.
    counts_reported: bool,
}

impl<T> RingCursor<T> {
    /// Creates a cursor. The caller must have reserved `slot` in the ring's waiters.
    pub(crate) fn new(
        ring: Arc<Ring<T>>,
        stage: Stage<T>,
        (number, reported): (u64, u32),
        slot: usize,
        is_done: bool,
    ) -> Self {
        Self {
            ring,
            stage,
            number,
            reported,
            slot,
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
            Stage::Resuming | Stage::Following => None,
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
            kept,
            counts_reported,
        } = detour;
        let superseded = resume_at - self.number - kept.len() as u64;
        let missed = superseded - u64::from(mem::take(&mut self.reported));
        // If a client disconnects while it is catching up on the kept events, it receives the rest
        // of them after it reconnects. By then, the superseded events have already been reported as
        // missed. The client's id states how many there are so that they are not counted again.
        let position = match counts_reported {
            true => self.ring.id_with_reported(self.number, superseded),
            false => self.ring.id(resume_at),
        };
        let count = kept.len() as u64;
        let kept = (1..).zip(kept).map(|(given, (number, entry))| {
            let superseded = resume_at - number - (count - given);
            Delivery {
                id: (superseded > 0).then(|| self.ring.id_with_reported(number, superseded)),
                ..Delivery::of(&entry)
            }
        });
        let kept: VecDeque<_> = kept.collect();
        if !kept.is_empty() {
            self.stage = Stage::Newest(kept);
        }
        self.number = resume_at;
        // If every skipped event is kept or has already been reported, there is no gap to report.
        (missed > 0).then_some(Gap {
            reason,
            missed: Some(missed),
            position,
        })
    }
}

impl<T> Detour<T> {
    /// Returns `None` if the overflow policy is to end the subscription.
    fn new(state: &State<T>, number: u64, reason: GapReason) -> Option<Self> {
        let oldest = state.before_oldest();
        let (number, kept, counts_reported) = match &state.overflow {
            Overflow::Skip => (oldest, Vec::new(), false),
            Overflow::Latest => {
                let newest = state.last.saturating_sub(1).max(oldest);
                (newest, Vec::new(), false)
            }
            Overflow::LatestBy(newest) => (state.last, newest.after(number), true),
            Overflow::Disconnect if reason == GapReason::TooOld => (oldest, Vec::new(), false),
            Overflow::Disconnect => return None,
        };
        Some(Self {
            number,
            kept,
            counts_reported,
        })
    }
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
            let reason = match is_resuming {
                true => GapReason::TooOld,
                false => GapReason::Overtaken,
            };
            let Some(detour) = Detour::new(&state, self.number, reason) else {
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
            Read::Event {
                delivery: Delivery::of(entry),
                waits: !state.finished,
            }
        } else if count > 0 {
            let batch;
            (batch, _replaced) = state.batch_after(self.number);
            self.number += batch.deliveries().len() as u64;
            let more = self.number < state.last;
            let waits = !more && !state.finished;
            Read::Events { batch, more, waits }
        } else if let Some(failure) = &state.failure {
            return Poll::Ready(Read::Failed(Arc::clone(failure)));
        } else if state.finished {
            return Poll::Ready(Read::End);
        } else {
            _waker = state.waiters.wait(self.slot, cx);
            return Poll::Pending;
        };
        if let Read::Event { waits: true, .. } | Read::Events { waits: true, .. } = read {
            _waker = state.waiters.wait(self.slot, cx);
        }
        Poll::Ready(read)
    }

    fn take_gap(&mut self) -> Option<Gap> {
        self.take_initial_gap()
    }

    fn position(&self) -> EventId {
        self.ring
            .id_with_reported(self.number, self.reported.into())
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
        let left = self.ring.state().leave(self.slot);
        // Drop these values after releasing the lock, because dropping a waker may drop a task
        // whose destructors acquire the lock.
        drop(left);
    }
}
