//! [`Gap`]: what is said to a reader that cannot have everything.

use std::fmt;

use bytes::BytesMut;

use crate::event::{
    frame::{Fields, Frame, Head},
    id::EventId,
};

/// Events that a reader does not get: they are not held any more, or nobody knows which they would be.
///
/// In an endpoint the client is told of it, past whatever the handler makes of the events, by an event `gap` with
/// `{"reason":"too_old","missed":7}` as its data, and with the id behind which reading goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub(crate) reason: GapReason,
    pub(crate) missed: Option<u64>,
    pub(crate) position: EventId,
}

/// Why a reader cannot have everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GapReason {
    /// What comes behind the id that it came with is not held any more.
    TooOld,
    /// The id is of another life of the topic: the process was restarted, or the topic dropped and made anew.
    OtherEpoch,
    /// No topic has written the id, or this one has not come that far.
    Unknown,
    /// It read more slowly than was published, and what it would have read next is not held any more.
    Overtaken,
}

impl GapReason {
    /// Its name in `snake_case`, as `event: gap` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooOld => "too_old",
            Self::OtherEpoch => "other_epoch",
            Self::Unknown => "unknown",
            Self::Overtaken => "overtaken",
        }
    }
}

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Gap {
    /// Why there is one.
    pub fn reason(&self) -> GapReason {
        self.reason
    }

    /// How many events it is, where that is known: after [`TooOld`](GapReason::TooOld) and
    /// [`Overtaken`](GapReason::Overtaken).
    pub fn missed(&self) -> Option<u64> {
        self.missed
    }

    /// Where reading goes on: the id to give to a client that was told by other means.
    pub fn position(&self) -> &EventId {
        &self.position
    }

    /// This one and one before it, of which nobody was told, as one.
    pub(crate) fn behind(self, before: Option<Box<Self>>) -> Self {
        let Some(before) = before else { return self };
        let missed = before.missed.zip(self.missed);
        Self {
            reason: before.reason,
            missed: missed.map(|(before, since)| before + since),
            position: self.position,
        }
    }

    /// Writes the event `gap`.
    pub(crate) fn put_into(&self, buffer: &mut BytesMut) {
        let fields = Fields {
            event: Some("gap".into()),
            id: Some(self.position.clone()),
            ..Fields::default()
        };
        let missed = match self.missed {
            Some(missed) => missed.to_string(),
            None => "null".to_owned(),
        };
        let data = format!("{{\"reason\":\"{}\",\"missed\":{missed}}}", self.reason);
        let mut frame = Frame::new(buffer, &fields);
        frame.text(Head::default(), &data);
        frame.finish();
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.missed {
            Some(missed) => write!(f, "{missed} events were missed ({})", self.reason),
            None => write!(
                f,
                "nobody knows how many events were missed ({})",
                self.reason
            ),
        }
    }
}

impl std::error::Error for Gap {}
