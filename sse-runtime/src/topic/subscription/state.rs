//! [`State`]: the events that a subscription hands out next.
//!
//! ```text
//!             a batch was read                  the topic has ended, or the reader was overtaken
//!      +----------------------------> Batch  +-----------------------> Ended
//!      |                                |    |
//!    Idle <-----------------------------+    |
//!      |      its last event was handed out  |
//!      +-------------------------------------+
//! ```
//!
//! | state | a poll | then |
//! | --- | --- | --- |
//! | `Idle` | reads the topic and hands out the resulting event or gap | `Idle` |
//! | `Batch` | hands out the next event of the batch | `Batch`, or `Idle` after the last event |
//! | `Ended` | returns `None` | `Ended` |
//!
//! `Subscription::poll_push` hands out several events in one poll. The states have the same meaning
//! in that case.

use std::{mem, sync::Arc};

use crate::{
    generator::outgoing::Next,
    topic::{backend::Delivery, batch::Batch},
};

/// The part of a read that has not been handed out yet.
pub(super) enum State<T> {
    /// Everything that was read has been handed out.
    Idle(Next),
    Batch {
        batch: Arc<Batch<T>>,
        /// The number of events handed out so far. Always less than the length of the batch.
        handed_out: usize,
        /// Describes what follows the batch.
        next: Next,
    },
    Ended {
        has_failed: bool,
    },
}

impl<T> State<T> {
    /// Takes the next event of the batch.
    pub(super) fn take_next(&mut self) -> Option<Delivery<T>> {
        let Self::Batch {
            batch,
            handed_out,
            next,
        } = self
        else {
            return None;
        };
        let deliveries = batch.deliveries();
        let delivery = deliveries.get(*handed_out)?.clone();
        *handed_out += 1;
        if *handed_out == deliveries.len() {
            // Release the batch so that a waiting reader does not keep it in memory.
            *self = Self::Idle(*next);
        }
        Some(delivery)
    }

    /// Takes the whole batch, if only its first event has been handed out.
    pub(super) fn take_batch(&mut self) -> Option<Arc<Batch<T>>> {
        let Self::Batch {
            handed_out: 1,
            next,
            ..
        } = *self
        else {
            return None;
        };
        match mem::replace(self, Self::Idle(next)) {
            Self::Batch { batch, .. } => Some(batch),
            Self::Idle(_) | Self::Ended { .. } => None,
        }
    }

    /// Returns what follows the last event handed out.
    pub(super) fn next(&self) -> Next {
        match self {
            Self::Idle(next) => *next,
            Self::Batch { .. } => Next::Others,
            Self::Ended { .. } => Next::Unknown,
        }
    }

    /// Clears the record of a registered waker, because the waker belongs to an earlier poll.
    pub(super) fn forget_waker(&mut self) {
        if let Self::Idle(next) | Self::Batch { next, .. } = self
            && *next == Next::Wait
        {
            *next = Next::Unknown;
        }
    }
}

/// Returns what follows a read.
pub(super) fn next(more: bool, waits: bool) -> Next {
    match (more, waits) {
        (true, _) => Next::Others,
        (false, true) => Next::Wait,
        (false, false) => Next::Unknown,
    }
}
