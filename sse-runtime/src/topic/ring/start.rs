//! [`Opening`]: the initial state of a reader.

use super::{
    overflow::Overflow,
    progress::Stage,
    state::{Located, State},
};
use crate::{
    event::{
        gap::{Gap, GapReason},
        id::EventId,
        position::ParsedId,
    },
    topic::{Start, backend::StartAt, engine::Place},
};

/// The initial state of a reader.
pub(crate) struct Opening<T> {
    pub(crate) stage: Stage<T>,
    /// The sequence number after which the reader starts.
    pub(crate) number: u64,
    pub(crate) reported: u32,
    /// The place that corresponds to `number`.
    pub(crate) place: Place,
    /// Whether the client has already received the end of the topic.
    pub(crate) is_done: bool,
}

impl<T> State<T> {
    /// Returns the initial state of a reader of an in-memory topic. See
    /// [`Backend::subscribe`](crate::topic::backend::Backend::subscribe) for `after_gap`.
    pub(super) fn start_in_memory(&self, from: &StartAt, after_gap: Option<Start>) -> Opening<T> {
        let gap = |reason| self.start_after_gap(reason, after_gap);
        let id = match from {
            StartAt::Start(start) => return self.start_at(*start, after_gap),
            StartAt::Unknown => return gap(GapReason::Unknown),
            StartAt::After(id) | StartAt::Done(id) => id,
        };
        let by_key = matches!(self.overflow, Overflow::LatestBy(_));
        let sent = match ParsedId::parse(id) {
            Some(sent) if !self.epoch.is(sent.epoch) => {
                return gap(GapReason::OtherEpoch);
            }
            Some(sent)
                if sent.mark.is_none()
                    && sent.number.saturating_add(sent.reported.into()) <= self.last
                    && (sent.reported == 0 || by_key) =>
            {
                sent
            }
            Some(_) | None => return gap(GapReason::Unknown),
        };
        let is_done = matches!(from, StartAt::Done(_));
        self.resume(sent.number, &sent, is_done)
    }

    /// Returns the initial state of a reader of a stored topic. See
    /// [`Backend::subscribe`](crate::topic::backend::Backend::subscribe) for `after_gap`.
    pub(super) fn start_in_log(&self, from: &StartAt, after_gap: Option<Start>) -> Opening<T> {
        let gap = |reason| self.start_after_gap(reason, after_gap);
        let id = match from {
            StartAt::Start(start) => return self.start_at(*start, after_gap),
            StartAt::Unknown => return gap(GapReason::Unknown),
            StartAt::After(id) | StartAt::Done(id) => id,
        };
        let Some(sent) = ParsedId::parse(id) else {
            return gap(GapReason::Unknown);
        };
        if !self.epoch.is(sent.epoch) {
            return gap(GapReason::OtherEpoch);
        }
        let by_key = matches!(self.overflow, Overflow::LatestBy(_));
        if sent.reported > 0 && !by_key {
            return gap(GapReason::Unknown);
        }
        let place = Place {
            number: sent.number,
            mark: sent.mark,
        };
        match self.locate(place) {
            Located::At(number) if number.saturating_add(sent.reported.into()) <= self.last => {
                let is_done = matches!(from, StartAt::Done(_));
                self.resume(number, &sent, is_done)
            }
            Located::At(_) => gap(GapReason::Unknown),
            Located::Nowhere(reason) => gap(reason),
            Located::Ahead | Located::Differs => Opening {
                stage: Stage::Ahead { place, repair: 0 },
                number: self.last,
                reported: 0,
                place,
                is_done: false,
            },
        }
    }

    fn start_at(&self, start: Start, after_gap: Option<Start>) -> Opening<T> {
        if let Some(reason) = self.refilling {
            return self.start_after_gap(reason, after_gap);
        }
        self.start_after(self.number_of(start), Stage::Following)
    }

    /// Returns the sequence number after which a reader with this start begins.
    pub(super) fn number_of(&self, start: Start) -> u64 {
        let oldest = self.before_oldest();
        match start {
            Start::Now => self.last,
            Start::First => oldest,
            Start::Latest(count) => self.last.saturating_sub(count as u64).max(oldest),
        }
    }

    /// Starts after a gap. By default, the first event is the oldest one held.
    fn start_after_gap(&self, reason: GapReason, after_gap: Option<Start>) -> Opening<T> {
        let oldest = self.before_oldest();
        if after_gap.is_some() && self.refilling.is_some() {
            return self.start_after(oldest, Stage::Refilling(reason));
        }
        let number = after_gap.map_or(oldest, |start| self.number_of(start));
        let gap = Gap {
            reason,
            missed: None,
            position: EventId::position(self.position_after(self.place_of(number))),
        };
        self.start_after(number, Stage::Gap(Box::new(gap)))
    }

    fn start_after(&self, number: u64, stage: Stage<T>) -> Opening<T> {
        Opening {
            stage,
            number,
            reported: 0,
            place: self.place_of(number),
            is_done: false,
        }
    }

    /// Resumes after the event with this sequence number. If any later events are no longer held,
    /// the first read returns a gap.
    fn resume(&self, number: u64, sent: &ParsedId<'_>, is_done: bool) -> Opening<T> {
        if is_done && self.finished {
            // The client has already received everything, including the end.
            return Opening {
                is_done,
                ..self.start_after(self.last, Stage::Resuming)
            };
        }
        Opening {
            stage: Stage::Resuming,
            number,
            reported: sent.reported,
            place: Place {
                number: sent.number,
                mark: sent.mark,
            },
            is_done,
        }
    }
}
