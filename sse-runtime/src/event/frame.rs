//! The encoder: from an event to its frame, straight into the connection's buffer.
//!
//! Source: [WHATWG HTML, "Parsing an event stream"](https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream).
//! Every line that is written here starts with an ASCII field name or a colon, so a byte order mark in somebody's data
//! is never the first character of the stream.

use std::{fmt, fmt::Write as _, time::Duration};

use bytes::{BufMut as _, BytesMut};

use crate::event::{
    id::EventId,
    name::{Comment, EventName},
};

/// A value could not be serialised.
#[derive(Debug, thiserror::Error)]
#[error("the value cannot be serialised: {0}")]
pub struct EncodeError(#[from] serde_json::Error);

/// The fields of a frame that are not its data.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields {
    pub(crate) comment: Option<Comment>,
    pub(crate) event: Option<EventName>,
    pub(crate) id: Option<EventId>,
    pub(crate) retry: Option<Duration>,
}

/// The fields that a value brings with it: a variant's name, a field that is the id.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// The `event` field.
    pub event: Option<&'static str>,
    /// The `id` field.
    pub id: Option<EventId>,
    /// The `retry` field.
    pub retry: Option<Duration>,
    /// Whether the data is the value's text as it is, and not JSON.
    pub is_text: bool,
    /// Whether serde writes the value without the variant's tag anyway.
    pub is_whole: bool,
}

/// Room for a few small events; what does not fit grows.
const FIRST_CAPACITY: usize = 512;

/// One frame on its way into the buffer: the fields in the order `event`, `id`, `retry`, `data`, after a comment, and the
/// blank line that ends it.
///
/// Unless it is finished, on an error and on a panic, the buffer is left as it was before: half a frame is never sent.
#[derive(Debug)]
pub struct Frame<'a> {
    buffer: &'a mut BytesMut,
    start: usize,
    is_whole: bool,
    /// The line of JSON is still to be ended.
    is_in_line: bool,
    /// What was set on the event, until it is written. The value does not set it again.
    fields: Option<&'a Fields>,
    /// The name for a value that has none of its own.
    default_event: Option<&'a str>,
    /// The id that the value brought.
    id: Option<EventId>,
    /// There are fields to write even if the value brings none.
    has_fields: bool,
}

impl<'a> Frame<'a> {
    /// Starts a frame that has what its value brings, and nothing else.
    #[inline]
    pub(crate) fn of_value(buffer: &'a mut BytesMut) -> Self {
        if buffer.capacity() == 0 {
            buffer.reserve(FIRST_CAPACITY);
        }
        Self {
            start: buffer.len(),
            buffer,
            is_whole: false,
            is_in_line: false,
            fields: None,
            default_event: None,
            id: None,
            has_fields: false,
        }
    }

    /// Starts a frame with the fields that are set on the event.
    pub(crate) fn new(buffer: &'a mut BytesMut, fields: &'a Fields) -> Self {
        let mut frame = Self::of_value(buffer);
        frame.fields = Some(fields);
        frame.has_fields = true;
        frame
    }

    /// Names the event, unless its value has a name of its own.
    pub(crate) fn or_event(mut self, name: &'a str) -> Self {
        self.default_event = Some(name);
        self.has_fields = true;
        self
    }

    /// Writes all fields before the data: those that are set on the event, and otherwise those that the value brings.
    #[inline(never)]
    fn head(&mut self, head: Head) {
        let set = self.fields.take();
        if let Some(comment) = set.and_then(|set| set.comment.as_ref()) {
            line(self.buffer, "", comment.as_str());
        }
        let name = set.and_then(|set| set.event.as_ref());
        let name = name.map(EventName::as_str);
        // An empty name sets none (WHATWG, "dispatch the event", step 4).
        if let Some(event) = name.or(head.event).or(self.default_event)
            && !event.is_empty()
        {
            line(self.buffer, "event", event);
        }
        if let Some(id) = set.and_then(|set| set.id.as_ref()) {
            line(self.buffer, "id", id);
        } else if let Some(id) = head.id {
            line(self.buffer, "id", &id);
            self.id = Some(id);
        }
        if let Some(retry) = set.and_then(|set| set.retry).or(head.retry) {
            retry_line(self.buffer, retry);
        }
    }

    /// Starts the `data` field of JSON, which is the last line of the frame.
    ///
    /// A value without a head, as most are, has no name but the frame's own.
    #[inline]
    pub(crate) fn start_json(&mut self, head: Option<Head>) -> &mut BytesMut {
        if head.is_some() || self.has_fields {
            self.head(head.unwrap_or_default());
        }
        self.buffer.put_slice(b"data: ");
        self.is_in_line = true;
        self.buffer
    }

    /// Writes the `data` field as text.
    pub(crate) fn text(&mut self, head: Head, value: &str) {
        self.head(head);
        text(self.buffer, value);
    }

    /// Ends the frame; returns the id that the value brought.
    #[inline]
    pub(crate) fn finish(mut self) -> Option<EventId> {
        if self.is_in_line {
            self.buffer.put_slice(b"\n\n");
        } else {
            self.finish_line();
        }
        self.is_whole = true;
        self.id.take()
    }

    /// Ends a frame whose last line is ended. Without data it is still to be written, and needs its blank line for an `id`, which
    /// takes effect with it, and for an `event`, which would name the next event without it. A comment and a `retry` are
    /// complete as lines; some decoders hand out an event at each blank line.
    #[inline(never)]
    fn finish_line(&mut self) {
        let without_data = self.fields;
        if without_data.is_some() {
            self.head(Head::default());
        }
        if without_data.is_none_or(|fields| fields.event.is_some() || fields.id.is_some()) {
            self.buffer.put_u8(b'\n');
        }
    }
}

impl Drop for Frame<'_> {
    fn drop(&mut self) {
        if !self.is_whole {
            self.buffer.truncate(self.start);
        }
    }
}

/// Writes a frame without data, which dispatches nothing.
pub(crate) fn bare_frame(buffer: &mut BytesMut, fields: &Fields) {
    Frame::new(buffer, fields).finish();
}

/// Writes a `retry` in front of whatever frame comes next.
///
/// It takes effect as a line, so it needs no blank line of its own; and there are clients to whom a frame without data is an
/// event with empty data (httpx-sse, fetch-event-source), or nothing at all (reqwest-eventsource, eventsource-client).
pub(crate) fn retry_line(buffer: &mut BytesMut, retry: Duration) {
    line(buffer, "retry", milliseconds(retry));
}

/// Writes the event `done`, behind which a client that comes back is told to stop.
///
/// Its id alone would do by the standard, and does for Chromium. Firefox and most libraries remember the ids of events only,
/// so they would come back for ever.
pub(crate) fn done_frame(buffer: &mut BytesMut, id: &EventId) {
    line(buffer, "event", "done");
    line(buffer, "id", id);
    buffer.put_slice(b"data: null\n\n");
}

/// Writes the event `close` with the reason of the end.
pub(crate) fn close_frame(buffer: &mut BytesMut, reason: &str, id: Option<&EventId>) {
    line(buffer, "event", "close");
    if let Some(id) = id {
        line(buffer, "id", id);
    }
    buffer.put_slice(b"data: {\"reason\":\"");
    buffer.put_slice(reason.as_bytes());
    buffer.put_slice(b"\"}\n\n");
}

/// Writes the `data` field as text: one `data` line for each line of it, where LF, CR and CRLF end a line each.
///
/// The space behind the colon is the one that clients strip, so a leading space of the text survives; text that ends
/// with a line break ends with an empty `data` line; empty text is one empty `data` line, and still an event.
fn text(buffer: &mut BytesMut, text: &str) {
    let bytes = text.as_bytes();
    let mut start = 0;
    for at in memchr::memchr2_iter(b'\r', b'\n', bytes) {
        // The LF of a CRLF, whose CR has ended the line.
        if at < start {
            continue;
        }
        data_line(buffer, &bytes[start..at]);
        start = match bytes[at..] {
            [b'\r', b'\n', ..] => at + 2,
            _ => at + 1,
        };
    }
    data_line(buffer, &bytes[start..]);
}

fn data_line(buffer: &mut BytesMut, line: &[u8]) {
    buffer.reserve(b"data: \n".len() + line.len());
    buffer.put_slice(b"data: ");
    buffer.put_slice(line);
    buffer.put_u8(b'\n');
}

fn line(buffer: &mut BytesMut, field: &str, value: impl fmt::Display) {
    let written = writeln!(buffer, "{field}: {value}");
    debug_assert!(written.is_ok(), "a `BytesMut` grows as it is written to");
}

/// Whole milliseconds, which is all that the field takes; rounded up, so that a pause never becomes none, and at most
/// what a browser's timer holds, which would take more for none.
fn milliseconds(duration: Duration) -> u128 {
    const LONGEST: u128 = i32::MAX as u128;
    duration.as_nanos().div_ceil(1_000_000).min(LONGEST)
}
