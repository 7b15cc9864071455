//! [`Gap`]: a notification that a reader has missed events.

use std::fmt;

use bytes::BytesMut;

use crate::event::{
    frame::{Fields, Frame, Head},
    id::EventId,
};

/// A notification that a reader has missed events, either because the topic no longer holds them or
/// because it does not recognize the reader's position.
///
/// An endpoint sends a gap to the client as a `gap` event, even if the handler filters the topic's
/// events. The data of the `gap` event looks like `{"reason":"too_old","missed":7}`, and the
/// event's id is the position from which the reader continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub(crate) reason: GapReason,
    pub(crate) missed: Option<u64>,
    pub(crate) position: EventId,
}

/// The reason a reader has missed events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GapReason {
    /// The topic no longer holds all of the events after the reader's id.
    TooOld,
    /// The id belongs to another epoch of the topic, because either the process was restarted or
    /// the topic was dropped and recreated.
    OtherEpoch,
    /// The id does not come from a topic, or it is a position that this topic has not reached yet.
    Unknown,
    /// The publisher was faster than the reader, and the reader's next event is no longer held.
    Overtaken,
    /// The engine that stores the topic has lost events that this reader may have received.
    RolledBack,
    /// The event cannot be decoded, for example because a newer deployment has published it.
    Unreadable,
}

impl GapReason {
    /// All reasons.
    #[cfg(any(feature = "metrics", feature = "openapi"))]
    pub(crate) const ALL: [Self; 6] = [
        Self::TooOld,
        Self::OtherEpoch,
        Self::Unknown,
        Self::Overtaken,
        Self::RolledBack,
        Self::Unreadable,
    ];

    /// Returns the reason's name in `snake_case`, as it appears in the `gap` event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooOld => "too_old",
            Self::OtherEpoch => "other_epoch",
            Self::Unknown => "unknown",
            Self::Overtaken => "overtaken",
            Self::RolledBack => "rolled_back",
            Self::Unreadable => "unreadable",
        }
    }
}

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Gap {
    /// Returns the reason for the gap.
    pub fn reason(&self) -> GapReason {
        self.reason
    }

    /// Returns the number of missed events, or `None` if it is unknown. The number is known only if
    /// the reason is [`TooOld`](GapReason::TooOld), [`Overtaken`](GapReason::Overtaken) or
    /// [`Unreadable`](GapReason::Unreadable).
    pub fn missed(&self) -> Option<u64> {
        self.missed
    }

    /// Returns the position from which the reader continues. If you notify the client of the gap
    /// yourself, send this position as the id of your event.
    pub fn position(&self) -> &EventId {
        &self.position
    }

    /// Merges this gap with an earlier gap, if any, that has not been reported yet.
    pub(crate) fn after(self, earlier: Option<Box<Self>>) -> Self {
        let Some(earlier) = earlier else { return self };
        let missed = earlier.missed.zip(self.missed);
        Self {
            reason: earlier.reason,
            missed: missed.map(|(earlier, later)| earlier + later),
            position: self.position,
        }
    }

    /// Writes the `gap` event.
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
                "an unknown number of events was missed ({})",
                self.reason
            ),
        }
    }
}

impl std::error::Error for Gap {}
