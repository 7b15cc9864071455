//! Compares every client's history and the outcome of every attempt to publish with the log.
//!
//! | invariant | condition |
//! | --- | --- |
//! | I1 | the events of a client follow each other as in the log, and all clients see the same order |
//! | I2 | no event between two events of a client is missing, unless the client has received a gap |
//! | I3 | no event arrives twice, unless a gap in between means that the client's id cannot be resumed |
//! | I4 | a confirmed event is in the log, unless the scenario's faults can cause its loss. In that case, every client that has received the event gets a gap, and no other client gets one |
//! | I5 | an event that was rejected is not in the log, and no client has received it |
//! | I6 | no key and no value is stored twice |
//! | I7 | if the scenario loses nothing, every event that a client has received is in the log |
//! | I8 | all clients have received the same bytes for an id, and the log contains these bytes |
//! | I9 | a gap states the correct number of missed events, and a client that reconnects with the gap's id does not receive another one |
//! | I10 | every open client has read the log to its end |
//! | I12 | nothing follows the end of a topic |
//!
//! The invariant I11, which limits the number of the engine's commands, is checked by the
//! scenarios.

use std::{collections::HashMap, fmt::Write as _};

use bytes::Bytes;

use crate::{
    history::{Item, Kind},
    log::Log,
    publisher::{Attempt, Outcome},
};

/// The losses and gaps that the faults of a scenario permit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    /// Whether confirmed events may be lost.
    pub(crate) may_lose: bool,
    /// Whether the log may have lost its oldest events.
    pub(crate) is_trimmed: bool,
    /// The reasons of the gaps that clients may receive.
    pub(crate) gaps: &'static [&'static str],
}

/// The history of a client.
pub(crate) struct Reading {
    pub(crate) client: String,
    pub(crate) items: Vec<Item>,
}

/// A violated invariant.
pub(crate) struct Violation {
    pub(crate) invariant: &'static str,
    pub(crate) message: String,
    /// The part of the history that shows the violation.
    pub(crate) excerpt: String,
}

/// The parts of an event's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Id<'a> {
    epoch: &'a str,
    number: u64,
    mark: &'a str,
}

impl<'a> Id<'a> {
    fn parse(id: &'a str) -> Self {
        let id = id.strip_suffix("~done").unwrap_or(id);
        let (epoch, rest) = id.split_once('-').unwrap();
        let (number, mark) = rest.split_once('.').unwrap_or((rest, ""));
        let number = number.parse().unwrap();
        Self {
            epoch,
            number,
            mark,
        }
    }
}

pub(crate) struct Checker<'a> {
    rules: Rules,
    log: &'a Log,
    attempts: &'a [Attempt],
    /// The index of each event in the log by its id.
    stored: HashMap<&'a str, usize>,
    /// The bytes and the data of each event that a client has received.
    bytes: HashMap<&'a str, (Option<&'a Bytes>, &'a str)>,
    /// The event before each event that a client has received.
    previous: HashMap<&'a str, &'a str>,
    /// All values that clients have received.
    received: HashMap<u64, &'a str>,
}

type Checked = Result<(), Violation>;

fn violated<T>(invariant: &'static str, message: String, excerpt: String) -> Result<T, Violation> {
    Err(Violation {
        invariant,
        message,
        excerpt,
    })
}

impl<'a> Checker<'a> {
    pub(crate) fn new(rules: Rules, log: &'a Log, attempts: &'a [Attempt]) -> Self {
        let events = log.events.iter().enumerate();
        Self {
            rules,
            log,
            attempts,
            stored: events.map(|(at, event)| (&*event.id, at)).collect(),
            bytes: HashMap::new(),
            previous: HashMap::new(),
            received: HashMap::new(),
        }
    }

    /// Checks everything.
    pub(crate) fn check(mut self, readings: &'a [Reading]) -> Checked {
        self.check_log()?;
        for reading in readings {
            self.check_reading(reading)?;
        }
        self.check_attempts()
    }

    fn is_stored(&self, id: &str) -> bool {
        self.stored.contains_key(id)
    }

    /// Returns whether an event has been trimmed from the log, or may have been.
    fn is_trimmed(&self, id: &str) -> bool {
        let Id { epoch, number, .. } = Id::parse(id);
        let oldest = self.log.events.first();
        self.rules.is_trimmed
            && epoch == self.log.epoch
            && oldest.is_none_or(|oldest| number < oldest.number)
    }

    fn check_log(&self) -> Checked {
        let (mut keys, mut values) = (HashMap::new(), HashMap::new());
        for event in &self.log.events {
            let other = keys.insert(event.key, event);
            if let Some(other) = other.or_else(|| values.insert(event.value, event)) {
                let message = format!("{} is stored twice", event.value);
                let excerpt = format!("{}, {}\n{}", other.id, event.id, self.of_value(event.value));
                return violated("I6", message, excerpt);
            }
        }
        Ok(())
    }

    fn check_reading(&mut self, reading: &'a Reading) -> Checked {
        let items = &reading.items;
        let fail = |invariant, at: usize, message: String| {
            violated(invariant, message, excerpt(reading, at))
        };
        // The last id received, and the index of its item.
        let mut last: Option<(&'a str, usize)> = None;
        // The last event received if the log does not contain it and no gap has followed.
        let mut lost: Option<&'a str> = None;
        // The values received since the last gap that permits repetition.
        let mut seen: HashMap<u64, &'a str> = HashMap::new();
        // The id of the `done` event.
        let mut done: Option<&'a String> = None;
        for (at, item) in items.iter().enumerate() {
            // A node that has not received the end yet sends `done` again instead of a 204.
            let has_ended = match &item.kind {
                Kind::Done { id } => done.is_some_and(|done| done != id),
                Kind::Opened { .. } | Kind::Broken => false,
                _ => done.is_some(),
            };
            if has_ended {
                return fail("I12", at, "the topic continues after its end".into());
            }
            match &item.kind {
                Kind::Event {
                    id,
                    data,
                    value,
                    bytes,
                } => {
                    self.check_bytes(id, data, *value, bytes.as_ref())
                        .or_else(|message| fail("I8", at, message))?;
                    let before = last.map(|(id, _)| id);
                    if let (Some(lost), Some(before)) = (lost, before)
                        && self.is_stored(before)
                    {
                        let message = format!("{lost} was lost, but no gap follows {before}");
                        return fail("I4", at, message);
                    }
                    self.check_order(before, id)
                        .or_else(|(invariant, message)| fail(invariant, at, message))?;
                    self.received.insert(*value, id);
                    if let Some(first) = seen.insert(*value, id) {
                        return fail("I3", at, format!("{id} repeats {first}"));
                    }
                    if !self.is_stored(id) && !self.is_trimmed(id) {
                        if !self.rules.may_lose {
                            return fail("I7", at, format!("{id} is not in the log"));
                        }
                        lost = Some(id);
                    }
                    last = Some((id, at));
                }
                Kind::Position { id } => {
                    if let Some((before, _)) = last
                        && before != id
                    {
                        return fail("I2", at, format!("the position {id} follows {before}"));
                    }
                    last = Some((id, at));
                }
                Kind::Gap { reason, missed, id } => {
                    self.check_gap(items, last, lost, (reason, *missed, id))
                        .or_else(|(invariant, message)| fail(invariant, at, message))?;
                    if matches!(&**reason, "rolled_back" | "other_epoch" | "unknown") {
                        seen.clear();
                        lost = None;
                    }
                    last = Some((id, at));
                }
                Kind::Done { id } => done = Some(id),
                Kind::Unanswered { .. } => {
                    return fail("I10", at, "the node has not responded".into());
                }
                Kind::Opened { .. } | Kind::Close { .. } | Kind::Broken => {}
            }
        }
        if let Some(lost) = lost {
            let message = format!("{lost} was lost, but no gap follows");
            return fail("I4", items.len(), message);
        }
        let newest = self.log.newest();
        if last.map(|(id, _)| id) != newest && newest.is_some() {
            let message = format!("the newest event {newest:?} has not arrived");
            return fail("I10", items.len(), message);
        }
        Ok(())
    }

    /// Checks that an event has the same bytes as at other clients and in the log.
    fn check_bytes(
        &mut self,
        id: &'a str,
        data: &'a str,
        value: u64,
        bytes: Option<&'a Bytes>,
    ) -> Result<(), String> {
        let known = self.bytes.entry(id).or_insert((bytes, data));
        let differs = known.1 != data || bytes.zip(known.0).is_some_and(|(one, two)| one != two);
        if differs {
            return Err(format!("{id} has been sent as {known:?} as well"));
        }
        known.0 = known.0.or(bytes);
        let Some(event) = self.stored.get(id).map(|at| &self.log.events[*at]) else {
            return Ok(());
        };
        let mut expected = format!("id: {id}\n").into_bytes();
        expected.extend_from_slice(&event.frame);
        if event.value != value || bytes.is_some_and(|bytes| *bytes != expected) {
            let frame = String::from_utf8_lossy(&event.frame);
            return Err(format!("{bytes:?} differs from {frame:?} in the log"));
        }
        Ok(())
    }

    /// Checks that an event may follow the client's last id.
    fn check_order(
        &mut self,
        last: Option<&'a str>,
        id: &'a str,
    ) -> Result<(), (&'static str, String)> {
        let this = Id::parse(id);
        let Some(last) = last else {
            let is_first = this.number == 1 || self.rules.is_trimmed;
            return match is_first {
                true => Ok(()),
                false => Err(("I2", format!("{id} is the client's first event"))),
            };
        };
        let before = Id::parse(last);
        if before.epoch != this.epoch {
            let message = format!("{id} follows {last}, but no gap is in between");
            return Err(("I2", message));
        }
        if this.number <= before.number {
            return Err(("I1", format!("{id} follows {last}")));
        }
        if this.number != before.number + 1 {
            let message = format!("events between {last} and {id} are missing without a gap");
            return Err(("I2", message));
        }
        if before.mark.is_empty() {
            return Ok(());
        }
        if let Some(at) = self.stored.get(id)
            && let Some(index) = at.checked_sub(1)
            && self.log.events[index].id != last
        {
            if self.rules.may_lose && !self.is_stored(last) {
                // The event has been published again with the same key, so it had the same id
                // before its predecessor was lost. A gap must follow.
                return Ok(());
            }
            let stored = &self.log.events[index].id;
            let message = format!("{id} follows {last}, but it follows {stored} in the log");
            return Err(("I1", message));
        }
        match self.previous.insert(id, last) {
            Some(other) if other != last => {
                let message = format!("{id} follows {last}, but it follows {other} elsewhere");
                Err(("I1", message))
            }
            _ => Ok(()),
        }
    }

    /// Checks that a gap is correct. `last` is the client's last id.
    fn check_gap(
        &self,
        items: &[Item],
        last: Option<(&str, usize)>,
        lost: Option<&str>,
        (reason, missed, id): (&str, Option<u64>, &str),
    ) -> Result<(), (&'static str, String)> {
        if !self.rules.gaps.contains(&reason) {
            let message = format!("no fault of this scenario explains the reason {reason}");
            return Err(("I2", message));
        }
        if lost.is_some() && !matches!(reason, "rolled_back" | "other_epoch") {
            return Err((
                "I4",
                format!("{lost:?} was lost, but the reason is {reason}"),
            ));
        }
        let Some((last, index)) = last else {
            return Ok(());
        };
        if let Kind::Gap {
            reason: before,
            id: same,
            ..
        } = &items[index].kind
            && (&**before, &**same) == (reason, id)
            && reason != "unreadable"
        {
            return Err(("I9", format!("the gap with the id {id} is repeated")));
        }
        let (before, after) = (Id::parse(last), Id::parse(id));
        match (reason, missed) {
            ("other_epoch", _) if before.epoch == after.epoch => {
                Err(("I4", format!("{last} has the same epoch as {id}")))
            }
            ("rolled_back", _) if self.is_stored(last) && lost.is_none() => {
                Err(("I4", format!("{last} is in the log, so nothing was lost")))
            }
            (_, Some(missed))
                if before.epoch != after.epoch || after.number != before.number + missed =>
            {
                let message = format!("{missed} events do not lead from {last} to {id}");
                Err(("I9", message))
            }
            _ => Ok(()),
        }
    }

    fn check_attempts(&self) -> Checked {
        let mut by_value: HashMap<u64, Vec<&Attempt>> = HashMap::new();
        for attempt in self.attempts {
            by_value.entry(attempt.value).or_default().push(attempt);
        }
        let in_log: HashMap<u64, &str> = self
            .log
            .events
            .iter()
            .map(|event| (event.value, &*event.id))
            .collect();
        let visible = in_log.iter().chain(&self.received);
        for (value, id) in visible {
            let Some(attempts) = by_value.get(value) else {
                let message = format!("{value} was never published");
                return violated("I5", message, (*id).to_owned());
            };
            let is_rejected = |attempt: &&Attempt| {
                matches!(attempt.outcome, Outcome::Unavailable(_) | Outcome::Finished)
            };
            if attempts.iter().all(is_rejected) {
                let message = format!("{value} was rejected, but it was stored as {id}");
                return violated("I5", message, self.of_value(*value));
            }
        }
        for attempt in self.attempts {
            let Outcome::Ok(id) = &attempt.outcome else {
                continue;
            };
            let is_kept = in_log.get(&attempt.value) == Some(&&**id);
            if !is_kept && !self.rules.may_lose && !self.is_trimmed(id) {
                let message = format!("{} was confirmed as {id}, but is lost", attempt.value);
                return violated("I4", message, self.of_value(attempt.value));
            }
        }
        Ok(())
    }

    /// Describes all attempts to publish a value.
    fn of_value(&self, value: u64) -> String {
        let mut text = String::new();
        for attempt in self.attempts.iter().filter(|known| known.value == value) {
            let _ = writeln!(text, "  {attempt}");
        }
        text
    }
}

/// Returns the items around index `at`.
fn excerpt(reading: &Reading, at: usize) -> String {
    let (from, to) = (at.saturating_sub(8), reading.items.len().min(at + 4));
    let mut text = format!("the history of {}:\n", reading.client);
    for (index, item) in reading.items[from..to].iter().enumerate() {
        let mark = if from + index == at { '>' } else { ' ' };
        let _ = writeln!(text, "{mark} {item}");
    }
    text
}
