//! [`Opening`]: the initial state of a reader.

use super::{
    cursor::Stage,
    overflow::Overflow,
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
    /// Returns the initial state of a reader of an in-memory topic.
    pub(super) fn start_in_memory(&self, from: &StartAt) -> Opening<T> {
        let id = match from {
            StartAt::Start(start) => return self.start_at(*start),
            StartAt::Unknown => return self.start_after_gap(GapReason::Unknown),
            StartAt::After(id) | StartAt::Done(id) => id,
        };
        let by_key = matches!(self.overflow, Overflow::LatestBy(_));
        let sent = match ParsedId::parse(id) {
            Some(sent) if !self.epoch.is(sent.epoch) => {
                return self.start_after_gap(GapReason::OtherEpoch);
            }
            Some(sent)
                if sent.mark.is_none()
                    && sent.number.saturating_add(sent.reported.into()) <= self.last
                    && (sent.reported == 0 || by_key) =>
            {
                sent
            }
            Some(_) | None => return self.start_after_gap(GapReason::Unknown),
        };
        let is_done = matches!(from, StartAt::Done(_));
        self.resume(sent.number, &sent, is_done)
    }

    /// Returns the initial state of a reader of a stored topic.
    pub(super) fn start_in_log(&self, from: &StartAt) -> Opening<T> {
        let id = match from {
            StartAt::Start(start) => return self.start_at(*start),
            StartAt::Unknown => return self.start_after_gap(GapReason::Unknown),
            StartAt::After(id) | StartAt::Done(id) => id,
        };
        let Some(sent) = ParsedId::parse(id) else {
            return self.start_after_gap(GapReason::Unknown);
        };
        if !self.epoch.is(sent.epoch) {
            return self.start_after_gap(GapReason::OtherEpoch);
        }
        let by_key = matches!(self.overflow, Overflow::LatestBy(_));
        if sent.reported > 0 && !by_key {
            return self.start_after_gap(GapReason::Unknown);
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
            Located::At(_) => self.start_after_gap(GapReason::Unknown),
            Located::Nowhere(reason) => self.start_after_gap(reason),
            Located::Ahead | Located::Differs => Opening {
                stage: Stage::Ahead { place, repair: 0 },
                number: self.last,
                reported: 0,
                place,
                is_done: false,
            },
        }
    }

    fn start_at(&self, start: Start) -> Opening<T> {
        if let Some(reason) = self.refilling {
            return self.start_after_gap(reason);
        }
        let oldest = self.before_oldest();
        let number = match start {
            Start::Now => self.last,
            Start::First => oldest,
            Start::Latest(count) => self.last.saturating_sub(count as u64).max(oldest),
        };
        self.start_after(number, Stage::Following)
    }

    /// Starts with the oldest held event, after a gap.
    pub(super) fn start_after_gap(&self, reason: GapReason) -> Opening<T> {
        let number = self.before_oldest();
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
