//! Applies records to the ring.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use tokio::time::Instant;

use super::{Buffer, Follower, Received, Source, State};
use crate::{
    event::position::Position,
    generator::run_failure::Failure,
    topic::{
        backend::Entry,
        engine::{BodyRef, End, Kind, Place, Record, Stored, Tail},
    },
};

/// The maximum number of records buffered during a repair. If more arrive, the buffer is discarded
/// and the records are read from the log instead.
const BUFFERED: usize = 1024;

/// The maximum size of the buffered records, in bytes.
const BUFFERED_BYTES: usize = 8 * 1024 * 1024;

/// The relation of a record to the ring.
pub(super) enum Relation {
    /// The record follows the ring's newest record.
    Next,
    /// The ring contains the record or used to contain it.
    Known,
    /// The ring lacks a record before this one, or contains a different one.
    Unclear,
}

impl<T: Send + Sync + 'static> Follower<T> {
    pub(super) fn relation(&self, state: &State, received: &Received) -> Relation {
        let Some(Tail { epoch, newest }) = state.newest else {
            return Relation::Unclear;
        };
        let place = received.stored.place();
        if received.epoch != epoch {
            Relation::Unclear
        } else if place.number <= newest.number {
            let known = match state.end {
                Some(end) if end.number == place.number => end.mark,
                _ => self.ring.mark_at(place.number),
            };
            match known {
                Some(mark) if Some(mark) != place.mark => Relation::Unclear,
                _ => Relation::Known,
            }
        } else if received.previous == newest {
            Relation::Next
        } else {
            Relation::Unclear
        }
    }

    /// Applies a record from the feed or a confirmation. During a repair, buffers the record
    /// instead.
    pub(super) fn take(&self, received: Received) {
        let mut state = self.state();
        let is_waiting = state.is_waiting;
        if let Some(buffer) = state.repairing.as_mut().filter(|_| !is_waiting) {
            buffer.bytes += received.stored.record.body.len();
            buffer.records.push_back(received);
            if buffer.records.len() > BUFFERED || buffer.bytes > BUFFERED_BYTES {
                *buffer = Buffer::default();
                state.is_suspect = true;
            }
            return;
        }
        match self.relation(&state, &received) {
            Relation::Next => self.apply(&mut state, received.stored),
            Relation::Unclear if received.source == Source::Feed => self.suspect_with(&mut state),
            Relation::Known | Relation::Unclear => {}
        }
    }

    /// Applies a record to the ring, and updates the newest place.
    pub(super) fn apply(&self, state: &mut State, stored: Stored) {
        let place = stored.place();
        let Some(tail) = &mut state.newest else {
            return;
        };
        tail.newest = place;
        let position = Position::with_mark(tail.epoch, place.number, place.mark);
        let Stored { record, age, .. } = stored;
        if record.kind == Kind::End {
            state.end = Some(place);
            let end = End::decode(&record.body);
            let own = state.failing.take_if(|(failing, _)| *failing == end);
            // A run may finish its own topic and go on, but it never stops itself in this way.
            let is_own = own.is_some() || end == End::Finished && state.is_finishing;
            state.is_run_over = !is_own || matches!(end, End::Stopped | End::Lost);
            self.ended_elsewhere.notify_waiters();
            self.ring.end(match (own, end) {
                (Some((_, failure)), _) => Some(failure),
                (None, End::Finished) => None,
                (None, End::Stopped) => Some(Arc::new(Failure::stopped())),
                (None, End::Failed) => Some(Arc::new(Failure::hidden())),
                (None, End::Lost) => Some(Arc::new(Failure::lost())),
            });
            return;
        }
        let at = Instant::now();
        let at = at.checked_sub(age).unwrap_or(at);
        let entry = Arc::new(self.entry(position, &record));
        let insert = || self.ring.insert(Arc::clone(&entry), at);
        // If the event were missing although the log contains it, its readers would not be told.
        if catch_unwind(AssertUnwindSafe(insert)).is_err()
            && self.ring.newest().number < place.number
        {
            self.warn_unreadable(position, "the topic's key function panicked");
            self.ring.insert(Arc::new(entry.without_value()), at);
        }
    }

    fn entry(&self, position: Position, record: &Record) -> Entry<T> {
        let own = self.publishing().remove(&record.key);
        let own = own.filter(|(body, _)| *body == record.body);
        let Some(body) = BodyRef::decode(&record.body) else {
            self.warn_unreadable(position, "its format is newer");
            return Entry::unreadable(position);
        };
        let value = own.map(|(_, value)| value).or_else(|| {
            let json = body.json().unwrap_or_default();
            let decode = || (self.codec.decode)(json);
            // A panic must neither stop the repair nor the engine's thread.
            let error = match catch_unwind(AssertUnwindSafe(decode)) {
                Ok(Ok(value)) => return Some(value),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "its `Deserialize` implementation panicked".to_owned(),
            };
            self.warn_unreadable(position, &error);
            None
        });
        Entry::stored(position, value, body.frame)
    }

    fn warn_unreadable(&self, position: Position, error: &str) {
        let topic = &*self.name;
        tracing::warn!(topic, %position, error, "failed to decode an event; readers receive a gap instead");
    }
}

/// Returns whether the marks of both places are known and differ.
pub(super) fn marks_differ(one: Place, other: Place) -> bool {
    one.mark
        .zip(other.mark)
        .is_some_and(|(one, other)| one != other)
}
