//! [`EventId`]: an event's `id`, which a client sends back when it reconnects.

use std::{borrow::Cow, fmt, str::FromStr};

use crate::event::position::{MERGED_PREFIX, Position};

/// The suffix of the last id sent by a finished stream. A client that reconnects with an id ending
/// in this suffix receives a `204`.
///
/// All characters of the suffix are unreserved in a URL (RFC 3986, section 2.3), so it does not
/// need to be escaped in a query string.
pub(crate) const DONE: &str = "~done";

/// The maximum length of an id in bytes. Servers may reject a request if a header contains a longer
/// id, and a browser never reconnects once its request has been rejected.
const MAX_LEN: usize = 4096;

/// The `id` of an event, which a browser sends back in `Last-Event-ID` when it reconnects.
///
/// An id consists of visible ASCII characters, `!` (0x21) to `~` (0x7E), because some clients do
/// not send other characters back unchanged. For example, npm's `eventsource` and undici either
/// fail to send such characters or encode them as Latin-1. A line break in an id could also forge a
/// field, and NUL makes clients ignore the id. Spaces are rejected too, because HTTP trims leading
/// and trailing spaces, and a space in a query string becomes `+`. Percent-encode any other text.
/// An id is at most 4096 bytes long and must not end with `~done`, the suffix reserved for finished
/// streams ([`Event::done`](crate::Event::done)). The empty id is allowed and is the default.
/// Sending the empty id clears the client's last event ID.
///
/// Converting a number or a UUID is infallible. Convert a `String` with [`new`](Self::new), which
/// returns a [`Result`]. Like `HeaderValue::from_static`, the conversion from `&'static str` panics
/// if the string is not a valid id. In a `const`, [`from_static`](Self::from_static) checks a
/// literal at compile time.
///
/// Source: [WHATWG HTML, "id" field](https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation).
///
/// ```
/// use sse_runtime::{EventId, event::EventIdError};
///
/// assert_eq!(EventId::from(7_u64).to_string(), "7");
/// assert_eq!(EventId::new("orders-7")?.to_string(), "orders-7");
///
/// let forged = EventId::new("7\ndata: forged");
/// assert!(matches!(forged, Err(EventIdError::NotVisibleAscii { at: 1, .. })));
/// # Ok::<(), EventIdError>(())
/// ```
#[derive(Clone)]
pub struct EventId(Repr);

#[derive(Clone)]
enum Repr {
    // Most ids are sequence numbers. A number is written without an intermediate string.
    Number(u64),
    Text(Cow<'static, str>),
    // A position in a topic.
    Position(Position),
}

impl EventId {
    /// Creates an id from text.
    ///
    /// # Errors
    ///
    /// Returns an error if the text is not visible ASCII, ends with the reserved `~done` suffix, or
    /// is longer than 4096 bytes.
    pub fn new(text: impl Into<Cow<'static, str>>) -> Result<Self, EventIdError> {
        let text = text.into();
        if text.len() > MAX_LEN {
            return Err(EventIdError::TooLong { len: text.len() });
        }
        if let Some((at, found)) = text.char_indices().find(|(_, c)| !c.is_ascii_graphic()) {
            return Err(EventIdError::NotVisibleAscii { at, found });
        }
        if text.ends_with(DONE) {
            return Err(EventIdError::Reserved);
        }
        Ok(Self(Repr::Text(text)))
    }

    /// Creates an id from a literal. In a `const`, the literal is checked at compile time.
    ///
    /// ```
    /// use sse_runtime::EventId;
    ///
    /// const START: EventId = EventId::from_static("start");
    /// assert_eq!(START.to_string(), "start");
    /// ```
    ///
    /// ```compile_fail
    /// const BROKEN: sse_runtime::EventId = sse_runtime::EventId::from_static("a\nb");
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the text is not a valid id. See [`EventId::new`].
    #[track_caller]
    pub const fn from_static(text: &'static str) -> Self {
        let bytes = text.as_bytes();
        assert!(
            bytes.len() <= MAX_LEN,
            "an event id is at most 4096 bytes long"
        );
        let mut at = 0;
        while at < bytes.len() {
            assert!(
                bytes[at].is_ascii_graphic(),
                "an event id must be visible ASCII without spaces; percent-encode the text"
            );
            at += 1;
        }
        if let Some((_, end)) = bytes.split_last_chunk() {
            assert!(
                !matches!(end, b"~done"),
                "an event id cannot end with `~done`, which marks the end of a stream"
            );
        }
        Self(Repr::Text(Cow::Borrowed(text)))
    }

    /// Returns the id that marks the end of a stream: the last id followed by [`DONE`]. A client
    /// that reconnects with this id receives a `204` and stops reconnecting.
    pub(crate) fn done(last: Option<&Self>) -> Self {
        let text = match last {
            Some(last) if last.is_done() => return last.clone(),
            Some(last) => format!("{last}{DONE}"),
            None => DONE.to_owned(),
        };
        Self(Repr::Text(text.into()))
    }

    /// Parses an id received from another server, which may end with [`DONE`]. Returns `None` if
    /// clients could not send the id back.
    pub(crate) fn received(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        match text.strip_suffix(DONE) {
            Some(last) => Some(Self::done(Self::last_of(last.to_owned()).as_ref())),
            None => Self::new(text.to_owned()).ok(),
        }
    }

    /// Strips the [`DONE`] suffix, if present, from an id sent by a client, and parses the
    /// remaining text. Returns `None` if the id is invalid or empty.
    pub(crate) fn last_of(mut sent: String) -> Option<Self> {
        if sent.ends_with(DONE) {
            sent.truncate(sent.len() - DONE.len());
        }
        Self::new(sent).ok().filter(|id| !id.text().is_empty())
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(&self.0, Repr::Text(text) if text.ends_with(DONE))
    }

    fn text(&self) -> Cow<'_, str> {
        match &self.0 {
            Repr::Number(number) => Cow::Owned(number.to_string()),
            Repr::Text(text) => Cow::Borrowed(text),
            Repr::Position(position) => Cow::Owned(position.to_string()),
        }
    }

    /// Returns whether the id is a position in one or more topics.
    pub(crate) fn is_of_topic(&self) -> bool {
        match &self.0 {
            Repr::Number(_) => false,
            Repr::Text(text) => text.starts_with(MERGED_PREFIX),
            Repr::Position(_) => true,
        }
    }

    pub(crate) fn position(position: Position) -> Self {
        Self(Repr::Position(position))
    }

    /// Returns the position that this id contains. Panics if it is not the id of a topic's event.
    pub(crate) fn as_position(&self) -> Position {
        match self.0 {
            Repr::Position(position) => position,
            Repr::Number(_) | Repr::Text(_) => {
                unreachable!("a topic's event has a position as its id")
            }
        }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Number(number) => number.fmt(f),
            Repr::Text(text) => text.fmt(f),
            Repr::Position(position) => position.fmt(f),
        }
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EventId").field(&self.text()).finish()
    }
}

// The number `5` and the string `"5"` are the same id because both are sent as the same bytes.
impl PartialEq for EventId {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for EventId {}

impl std::hash::Hash for EventId {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text().hash(state);
    }
}

impl FromStr for EventId {
    type Err = EventIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text.to_owned())
    }
}

/// # Panics
///
/// Panics if the text is not a valid id. See [`EventId::new`].
impl From<&'static str> for EventId {
    #[track_caller]
    fn from(text: &'static str) -> Self {
        Self::from_static(text)
    }
}

macro_rules! from_unsigned {
    ($($number:ty),*) => {$(
        impl From<$number> for EventId {
            fn from(number: $number) -> Self {
                Self(Repr::Number(u64::from(number)))
            }
        }
    )*};
}

macro_rules! from_displayed {
    ($($value:ty),*) => {$(
        impl From<$value> for EventId {
            fn from(value: $value) -> Self {
                Self(Repr::Text(value.to_string().into()))
            }
        }
    )*};
}

from_unsigned!(u8, u16, u32, u64);
from_displayed!(usize, u128, i8, i16, i32, i64, i128, isize);
#[cfg(feature = "uuid")]
from_displayed!(uuid::Uuid);

/// Returns the empty id, which clears the client's last event ID.
impl Default for EventId {
    fn default() -> Self {
        Self::from_static("")
    }
}

/// Serializes the id as a string, even if it is a number, because browsers expose `lastEventId` as
/// a string.
impl serde::Serialize for EventId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for EventId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(text).map_err(serde::de::Error::custom)
    }
}

/// The error returned for text that is not a valid [`EventId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventIdError {
    /// The text contains a character that is not visible ASCII, such as a line break, a space, or
    /// `ü`.
    #[error(
        "an event id must be visible ASCII without spaces, but has {found:?} at byte {at}; \
         percent-encode the text, for example with `percent_encoding::utf8_percent_encode`"
    )]
    #[non_exhaustive]
    NotVisibleAscii {
        /// The byte offset of the character.
        at: usize,
        /// The character.
        found: char,
    },
    /// The text ends with `~done`, the suffix that this crate appends to the last id of a finished
    /// stream.
    #[error(
        "an event id cannot end with `~done`, which marks the end of a stream; append another suffix"
    )]
    Reserved,
    /// The text is longer than 4096 bytes. Servers may reject a header of that length.
    #[error(
        "an event id can be at most 4096 bytes long, but this one is {len} bytes long; use a shorter key"
    )]
    #[non_exhaustive]
    TooLong {
        /// The length of the text in bytes.
        len: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_rejects_text_that_is_not_visible_ascii() {
        for (text, at, found) in [
            ("1\ndata: spoof", 1, '\n'),
            ("\r", 0, '\r'),
            ("a\0", 1, '\0'),
            ("a\u{85}", 1, '\u{85}'),
            (" 1", 0, ' '),
            ("1 ", 1, ' '),
            ("zürich", 1, 'ü'),
        ] {
            let error = EventIdError::NotVisibleAscii { at, found };
            assert_eq!(EventId::new(text), Err(error), "{text:?}");
        }
        assert_eq!(EventId::new("9~done"), Err(EventIdError::Reserved));
        let long = "x".repeat(4097);
        assert_eq!(EventId::new(long), Err(EventIdError::TooLong { len: 4097 }));
    }

    #[test]
    fn literal_panics_if_it_is_not_a_valid_id() {
        const ID: EventId = EventId::from_static("tick~don");
        assert_eq!(ID, EventId::from("tick~don"));
        for text in ["~done", "a b", "é"] {
            assert!(
                std::panic::catch_unwind(|| EventId::from(text)).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn number_equals_its_text() {
        assert_eq!(EventId::from(5_u64), EventId::new("5").unwrap());
        assert_eq!(EventId::from(-5).to_string(), "-5");
        assert_eq!(EventId::from(u128::MAX).to_string(), u128::MAX.to_string());
        assert_eq!(EventId::new("").unwrap().to_string(), "");
    }

    #[test]
    fn done_suffix_is_appended_once() {
        let done = EventId::done(Some(&EventId::from(7_u8)));
        assert_eq!(done.to_string(), "7~done");
        assert_eq!(EventId::done(Some(&done)), done);
        assert_eq!(EventId::done(None).to_string(), "~done");
    }
}
