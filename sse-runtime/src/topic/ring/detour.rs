//! [`AfterGap`], [`Detour`] and [`Jump`]: the position at which a reader continues after a gap.

use std::sync::Arc;

use super::{overflow::Overflow, state::State};
use crate::{
    event::{gap::GapReason, position::Position},
    topic::{Start, backend::Entry, engine::Place},
};

/// The position set by [`Cursor::after_gap`](crate::topic::Cursor::after_gap), in the four bytes that
/// are otherwise padding in a reader.
#[derive(Clone, Copy)]
pub(super) struct AfterGap(u32);

impl AfterGap {
    const NONE: u32 = u32::MAX;
    const FIRST: u32 = u32::MAX - 1;

    pub(super) fn new(start: Option<Start>) -> Self {
        Self(match start {
            None => Self::NONE,
            // The same as `Latest(0)`.
            Some(Start::Now) => 0,
            Some(Start::First) => Self::FIRST,
            // No topic holds this many events, so a larger count means all of them.
            Some(Start::Latest(count)) => {
                u32::try_from(count).map_or(Self::FIRST, |count| count.min(Self::FIRST))
            }
        })
    }

    pub(super) fn get(self) -> Option<Start> {
        match self.0 {
            Self::NONE => None,
            Self::FIRST => Some(Start::First),
            count => Some(Start::Latest(count as usize)),
        }
    }
}

/// The position at which a reader continues if its next event is no longer held.
pub(super) struct Detour<T> {
    pub(super) number: u64,
    /// The place that corresponds to `number`.
    pub(super) place: Place,
    /// The position after the last event read.
    pub(super) from: Position,
    /// The events up to `number` that the reader still receives, with their sequence numbers.
    pub(super) kept: Vec<(u64, Arc<Entry<T>>)>,
    /// Whether the ids sent to the client also state how many later events have already been
    /// reported as missed.
    pub(super) counts_reported: bool,
}

impl<T> Detour<T> {
    /// If `after_gap` is `None`, the overflow policy determines the position. Returns `None` if the
    /// policy is to end the subscription.
    pub(super) fn new(
        state: &State<T>,
        from: Place,
        number: u64,
        reason: GapReason,
        after_gap: Option<Start>,
    ) -> Option<Self> {
        let oldest = state.before_oldest();
        let (number, kept, counts_reported) = match (&state.overflow, after_gap) {
            (Overflow::Disconnect, _) if reason != GapReason::TooOld => return None,
            (_, Some(start)) => (state.number_of(start), Vec::new(), false),
            (Overflow::Skip | Overflow::Disconnect, None) => (oldest, Vec::new(), false),
            (Overflow::Latest, None) => {
                let newest = state.last.saturating_sub(1).max(oldest);
                (newest, Vec::new(), false)
            }
            (Overflow::LatestBy(newest), None) => (state.last, newest.after(number), true),
        };
        Some(Self {
            number,
            place: state.place_of(number),
            from: state.position_after(from),
            kept,
            counts_reported,
        })
    }
}

/// The position at which a reader continues after a gap.
#[derive(Clone, Copy)]
pub(super) struct Jump {
    pub(super) number: u64,
    pub(super) place: Place,
    pub(super) position: Position,
    pub(super) reason: GapReason,
}

impl Jump {
    pub(super) fn to<T>(state: &State<T>, number: u64, reason: GapReason) -> Self {
        let place = state.place_of(number);
        Self {
            number,
            place,
            position: state.position_after(place),
            reason,
        }
    }
}
