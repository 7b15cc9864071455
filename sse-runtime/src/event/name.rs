//! [`EventName`] and [`Comment`]: text that always fits on one line of the stream.

use std::{borrow::Cow, fmt, str::FromStr};

/// The standard's line breaks (LF and CR) and every other line break that Python's `str.splitlines`
/// recognizes. A client that uses `splitlines` would parse the text after any of them as a field.
///
/// `sse-macros` contains a copy of this list for checking names at compile time.
const LINE_BREAKS: [char; 10] = [
    '\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}',
];

/// Returns the byte offset of the first line break.
fn line_break(text: &str) -> Option<usize> {
    // This function is called for every named event. Most names are plain ASCII, and this check is
    // faster for them than the search below.
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_plain {
        return None;
    }
    text.find(LINE_BREAKS)
}

/// Replaces line breaks in a literal with U+FFFD, because converting a literal is infallible.
fn one_line(text: &'static str) -> Cow<'static, str> {
    match line_break(text) {
        None => Cow::Borrowed(text),
        Some(_) => Cow::Owned(text.replace(LINE_BREAKS, "\u{fffd}")),
    }
}

/// The name of an event. Browser code passes this name to `addEventListener`.
///
/// A name cannot be empty, because an event with an empty name would arrive as a plain `message`.
/// It cannot contain a line break either, because a line break in user input could forge a field.
/// Unicode's line breaks (VT, FF, FS, GS, RS, U+0085, U+2028 and U+2029) are also rejected, because
/// some clients split lines at these characters. Convert a `String` with [`new`](Self::new), which
/// returns a [`Result`]. Converting a `&'static str` is infallible, because any line break in a
/// literal is replaced with U+FFFD.
///
/// Source: [WHATWG HTML, "event" field](https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation).
///
/// ```
/// use sse_runtime::EventName;
///
/// assert_eq!(EventName::new("tick")?.as_str(), "tick");
/// assert!(EventName::new("tick\ndata: forged").is_err());
/// # Ok::<(), sse_runtime::event::EventNameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventName(Cow<'static, str>);

impl EventName {
    /// Creates a name from text.
    ///
    /// # Errors
    ///
    /// Returns an error if the text is empty or contains a line break.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Result<Self, EventNameError> {
        let name = name.into();
        if name.is_empty() {
            return Err(EventNameError::Empty);
        }
        match line_break(&name) {
            Some(at) => Err(EventNameError::LineBreak(LineBreak { at })),
            None => Ok(Self(name)),
        }
    }

    /// Returns the name as it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&'static str> for EventName {
    fn from(name: &'static str) -> Self {
        Self(one_line(name))
    }
}

impl FromStr for EventName {
    type Err = EventNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name.to_owned())
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A comment: a line that clients ignore. A comment can keep an idle connection alive or help
/// someone reading the stream.
///
/// A comment cannot contain a line break of any kind, including Unicode's line breaks (see
/// [`EventName`]). Convert a `String` with [`new`](Self::new), which returns a [`Result`].
/// Converting a `&'static str` is infallible, because any line break in a literal is replaced with
/// U+FFFD.
///
/// Source: [WHATWG HTML, authoring notes](https://html.spec.whatwg.org/multipage/server-sent-events.html#authoring-notes).
///
/// ```
/// use sse_runtime::{Event, event::Comment};
///
/// let user = "ada\ndata: forged";
/// assert!(Comment::new(format!("hello, {user}")).is_err());
/// let event = Event::comment("warming up");
/// # let _ = event;
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Comment(Cow<'static, str>);

impl Comment {
    /// Creates a comment from text.
    ///
    /// # Errors
    ///
    /// Returns an error if the text contains a line break.
    pub fn new(text: impl Into<Cow<'static, str>>) -> Result<Self, LineBreak> {
        let text = text.into();
        match line_break(&text) {
            Some(at) => Err(LineBreak { at }),
            None => Ok(Self(text)),
        }
    }

    /// Returns the text as it is sent, without the colon.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&'static str> for Comment {
    fn from(text: &'static str) -> Self {
        Self(one_line(text))
    }
}

impl FromStr for Comment {
    type Err = LineBreak;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text.to_owned())
    }
}

/// A type that converts infallibly into `Field`. `Field` itself and `&'static str` implement this
/// trait. If `Field` is [`EventId`](crate::EventId), so do numbers and UUIDs.
///
/// This trait is implemented for every type that implements `Into<Field>`. It exists only to
/// improve the compiler's error message for other types.
#[diagnostic::on_unimplemented(
    message = "`{Self}` might not be a valid `{Field}`",
    label = "this is only known at run time",
    note = "for text that is only known at run time, use `{Field}::new(text)`, which returns a `Result`; a `uuid::Uuid` can be used as an `EventId` with the `uuid` feature of `sse-runtime`"
)]
pub trait IntoField<Field> {
    #[doc(hidden)]
    #[track_caller]
    fn into_field(self) -> Field;
}

#[diagnostic::do_not_recommend]
impl<T: Into<Field>, Field> IntoField<Field> for T {
    #[track_caller]
    fn into_field(self) -> Field {
        self.into()
    }
}

/// The error returned for text that must be a single line but contains a line break.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the text has a line break at byte {at} (this includes Unicode line breaks such as U+2028); remove or escape it"
)]
#[non_exhaustive]
pub struct LineBreak {
    /// The byte offset of the line break.
    pub at: usize,
}

/// The error returned for text that is not a valid [`EventName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventNameError {
    /// The name is empty. A client would treat the event as a `message`, so omit the name instead.
    #[error("an event name cannot be empty; omit the name to send the event as `message`")]
    Empty,
    /// The name contains a line break.
    #[error("an event name must be a single line: {0}")]
    LineBreak(#[from] LineBreak),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_rejects_line_breaks() {
        for text in ["a\nb", "a\rb", "a\r\nevent: x", "a\u{2028}b"] {
            assert_eq!(
                EventName::new(text),
                Err(EventNameError::LineBreak(LineBreak { at: 1 }))
            );
            assert_eq!(Comment::new(text), Err(LineBreak { at: 1 }));
        }
        assert_eq!(EventName::new(""), Err(EventNameError::Empty));
        assert_eq!(Comment::new("").unwrap().as_str(), "");
    }

    #[test]
    fn line_breaks_in_literals_are_replaced() {
        assert_eq!(EventName::from("a\nb").as_str(), "a\u{fffd}b");
        assert_eq!(Comment::from("a\r\nb").as_str(), "a\u{fffd}\u{fffd}b");
    }
}
