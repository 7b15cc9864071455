//! [`Record`]: an event as an engine stores it.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::{event::position::Mark, topic::Key};

/// A record to append to a topic's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The record's key.
    pub key: Key,
    /// Whether the record ends the topic.
    pub kind: Kind,
    /// The encoded event (see [`Body`]). The engine does not interpret the body.
    pub body: Bytes,
}

/// The kind of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An event.
    Event,
    /// The end of the topic. The engine rejects every record after it.
    End,
}

/// The way in which a topic ended. It is stored in the body of a [`Kind::End`] record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Finished,
    /// The topic's run was stopped.
    Stopped,
    /// The topic's run has failed.
    Failed,
    /// The process that was executing the topic's run stopped before the run ended.
    Lost,
}

impl End {
    pub(crate) fn encode(self) -> Bytes {
        let byte: &'static [u8] = match self {
            Self::Finished => &[0],
            Self::Stopped => &[1],
            Self::Failed => &[2],
            Self::Lost => &[3],
        };
        Bytes::from_static(byte)
    }

    /// Decodes the body of a [`Kind::End`] record. A value that only a newer version knows is
    /// decoded as `Failed`.
    pub(crate) fn decode(body: &[u8]) -> Self {
        match body {
            [0] => Self::Finished,
            [1] => Self::Stopped,
            [3] => Self::Lost,
            _ => Self::Failed,
        }
    }
}

/// A record in a topic's log.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The record's number.
    pub number: u64,
    /// The record's mark.
    pub mark: Mark,
    /// The record.
    pub record: Record,
    /// The time since the record was stored, according to the engine's clock.
    pub age: Duration,
}

impl Stored {
    /// Returns the record's place in the log.
    pub fn place(&self) -> Place {
        Place {
            number: self.number,
            mark: Some(self.mark),
        }
    }
}

/// A place in a topic's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number of the record at this place. 0 is the place before the first record.
    pub number: u64,
    /// The mark of the record at this place, or `None` if the mark is unknown or the number is 0.
    pub mark: Option<Mark>,
}

impl Place {
    /// The place before the first record.
    pub const START: Self = Self {
        number: 0,
        mark: None,
    };
}

/// The decoded body of a record, which contains an encoded event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The event's frame without its `id` line.
    pub frame: Bytes,
    /// The value as JSON, or `None` if it equals the frame's data.
    pub value: Option<Bytes>,
}

/// The version of the body's format.
const VERSION: u8 = 1;

/// The size of the header, in bytes. The header consists of the version and the frame's length.
const HEADER: usize = 1 + 4;

impl Body {
    /// Encodes an event. `value` is the event's value as JSON.
    pub(crate) fn encode(frame: &[u8], value: &[u8]) -> Bytes {
        let is_data = data_of(frame) == Some(value);
        let value = if is_data { &[] } else { value };
        let mut body = BytesMut::with_capacity(HEADER + frame.len() + value.len());
        body.put_u8(VERSION);
        // The engine limits the size of a body, so a frame is far smaller than 4 GiB.
        body.put_u32(u32::try_from(frame.len()).unwrap_or(u32::MAX));
        body.put_slice(frame);
        body.put_slice(value);
        body.freeze()
    }

    /// Decodes a record's body. Returns `None` if it was written by a newer version.
    pub fn decode(mut body: Bytes) -> Option<Self> {
        let len = BodyRef::decode(&body)?.frame.len();
        let value = body.split_off(HEADER + len);
        Some(Self {
            frame: body.split_off(HEADER),
            value: (!value.is_empty()).then_some(value),
        })
    }
}

/// Like [`Body`], but borrows its parts, so that decoding neither allocates nor counts references.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyRef<'a> {
    pub(crate) frame: &'a [u8],
    value: Option<&'a [u8]>,
}

impl<'a> BodyRef<'a> {
    /// Decodes a record's body. Returns `None` if it was written by a newer version.
    pub(crate) fn decode(body: &'a [u8]) -> Option<Self> {
        let ([version, len @ ..], parts) = body.split_first_chunk::<HEADER>()?;
        let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
        if *version != VERSION {
            return None;
        }
        let (frame, value) = parts.split_at_checked(len)?;
        Some(Self {
            frame,
            value: (!value.is_empty()).then_some(value),
        })
    }

    /// Returns the value as JSON.
    pub(crate) fn json(&self) -> Option<&'a [u8]> {
        self.value.or_else(|| data_of(self.frame))
    }
}

/// Returns the data of a frame that has a single `data` line, which is always the last one.
fn data_of(frame: &[u8]) -> Option<&[u8]> {
    let lines = frame.strip_suffix(b"\n\n")?;
    let start = memchr::memrchr(b'\n', lines).map_or(0, |end| end + 1);
    lines[start..].strip_prefix(b"data: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_decodes_to_what_was_encoded() {
        for (frame, value, is_stored) in [
            ("data: {\"a\":1}\n\n", "{\"a\":1}", false),
            ("event: b\ndata: 7\n\n", "7", false),
            ("event: b\ndata: 7\n\n", "{\"b\":7}", true),
            ("event: b\ndata\n\n", "\"b\"", true),
            ("data: a\ndata: b\n\n", "b", false),
        ] {
            let encoded = Body::encode(frame.as_bytes(), value.as_bytes());
            let json = BodyRef::decode(&encoded).unwrap().json();
            assert_eq!(json, Some(value.as_bytes()));
            let body = Body::decode(encoded).unwrap();
            assert_eq!(body.frame, frame);
            assert_eq!(body.value.is_some(), is_stored, "{frame:?}");
        }
    }

    #[test]
    fn body_of_another_format_does_not_decode() {
        let encoded = Body::encode(b"data: 7\n\n", b"7");
        for body in [
            &b""[..],
            b"\x01\0\0\0",
            b"\x01\0\0\0\x09data: 7\n",
            b"\x02\0\0\0\0",
        ] {
            assert_eq!(Body::decode(Bytes::copy_from_slice(body)), None);
        }
        assert!(Body::decode(encoded).is_some());
    }
}
