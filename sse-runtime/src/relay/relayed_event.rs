//! [`RelayedEvent`]: an event from an upstream, parsed only on demand.

use std::{borrow::Cow, fmt, time::Duration};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::{rewrite, splitter::Piece};
use crate::{
    event::{DecodeError, decode, frame::EncodeError, id::EventId, sse_event::SseEvent},
    generator::{
        outgoing::Outgoing,
        yielder::{Item, Yield, kind},
    },
};

/// An event from an upstream. `yield_!` sends it unchanged, in a stream of any item type. The event
/// is parsed only when one of its methods is called.
///
/// Invalid UTF-8 is relayed unchanged. The methods replace it with U+FFFD, as a client does.
#[derive(Clone)]
pub struct RelayedEvent {
    /// The event's lines, each ending with an LF, and the blank line.
    bytes: Bytes,
    id: Option<EventId>,
}

impl RelayedEvent {
    pub(super) fn new(piece: Piece, id: Option<EventId>) -> Self {
        Self {
            bytes: piece.bytes,
            id,
        }
    }

    /// Returns the event's name, or `message` if the event has no name.
    pub fn name(&self) -> Cow<'_, str> {
        match rewrite::values(&self.bytes, b"event").last() {
            Some(name) if !name.is_empty() => String::from_utf8_lossy(name),
            _ => Cow::Borrowed("message"),
        }
    }

    /// Returns the event's data, with its lines joined by LF.
    pub fn data(&self) -> Cow<'_, str> {
        let mut lines = rewrite::values(&self.bytes, b"data").map(String::from_utf8_lossy);
        let mut data = lines.next().unwrap_or_default();
        for line in lines {
            let data = data.to_mut();
            data.push('\n');
            data.push_str(&line);
        }
        data
    }

    /// Returns the event's own id, or `None` if it has no id or one that clients could not send
    /// back. See [`EventId`].
    pub fn id(&self) -> Option<&EventId> {
        self.id.as_ref()
    }

    /// Returns the reconnection time that the event sets, if any.
    pub fn retry(&self) -> Option<Duration> {
        let value = rewrite::values(&self.bytes, b"retry").last()?;
        let value = std::str::from_utf8(value).ok()?;
        let is_valid = value.bytes().all(|byte| byte.is_ascii_digit());
        is_valid.then(|| value.parse().ok().map(Duration::from_millis))?
    }

    /// Parses the data as JSON.
    ///
    /// # Errors
    ///
    /// Returns an error if the data cannot be parsed as `T`.
    pub fn json<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(&self.data())
    }

    /// Decodes the event into a type that derives [`SseEvent`](crate::SseEvent) and serde's
    /// `Deserialize`. See [`event::decode`](crate::event::decode).
    ///
    /// # Errors
    ///
    /// Returns an error if `T` has no event with this name, or if the data does not match `T`.
    pub fn decode<T: SseEvent + DeserializeOwned>(&self) -> Result<T, DecodeError> {
        decode(&self.name(), &self.data())
    }

    /// Replaces the data and keeps the other fields.
    pub fn with_data(self, data: &str) -> Self {
        // CR and CRLF are line breaks too. If they were sent as they are, they could forge fields.
        let data = data.replace("\r\n", "\n").replace('\r', "\n");
        Self {
            bytes: rewrite::with_data(&self.bytes, &data),
            ..self
        }
    }

    /// Replaces the data with `value` as JSON and keeps the other fields.
    ///
    /// # Errors
    ///
    /// Returns an error if the value cannot be serialized.
    pub fn with_json(self, value: &impl Serialize) -> serde_json::Result<Self> {
        Ok(self.with_data(&serde_json::to_string(value)?))
    }

    /// Returns the event's bytes, including the blank line that ends it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn push_to(&self, outgoing: &mut Outgoing) {
        outgoing.frames.share(&self.bytes);
        outgoing.wrote(self.id.clone());
    }
}

#[diagnostic::do_not_recommend]
impl<T> Yield<T, kind::Relayed> for RelayedEvent {
    fn write_to(self, outgoing: &mut Outgoing, _: &Item<T>) -> Result<(), EncodeError> {
        self.push_to(outgoing);
        Ok(())
    }
}

impl fmt::Debug for RelayedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RelayedEvent")
            .field(&String::from_utf8_lossy(&self.bytes))
            .finish()
    }
}
