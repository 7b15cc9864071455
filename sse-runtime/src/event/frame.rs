//! [`Frame`]: writes an event directly into the connection's buffer.
//!
//! Source:
//! [WHATWG HTML, "Parsing an event stream"](https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream).
//!
//! Every line starts with an ASCII field name or a colon. A byte order mark in the data can
//! therefore never be at the start of the stream, where clients would strip it.

use std::{fmt, fmt::Write as _, time::Duration};

use bytes::{BufMut as _, BytesMut};

use crate::event::{
    id::EventId,
    name::{Comment, EventName},
};

/// The error returned if a value cannot be serialized.
#[derive(Debug, thiserror::Error)]
#[error("failed to serialize the value: {0}")]
pub struct EncodeError(pub(crate) serde_json::Error);

/// A frame's comment and its `event`, `id` and `retry` fields.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields {
    pub(crate) comment: Option<Comment>,
    pub(crate) event: Option<EventName>,
    pub(crate) id: Option<EventId>,
    pub(crate) retry: Option<Duration>,
}

/// The event fields set by a value, such as an `event` field with the name of its variant or an
/// `id` field taken from one of its own fields.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// The `event` field.
    pub event: Option<&'static str>,
    /// The `id` field.
    pub id: Option<EventId>,
    /// The `retry` field.
    pub retry: Option<Duration>,
    /// Whether the data is the value's text rather than JSON.
    pub is_text: bool,
    /// Whether a client must not reconnect after this event.
    pub stops: bool,
    /// Whether the data is serde's complete output, with no tag to strip.
    pub is_whole: bool,
}

/// The initial capacity of a buffer, which is enough for a few small events.
const FIRST_CAPACITY: usize = 512;

/// A frame being written. A frame can contain a comment and the `event`, `id`, `retry` and `data`
/// fields, in this order. A blank line ends the frame, unless the frame contains nothing but a
/// comment, a `retry` field, or both.
///
/// If an unfinished frame is dropped because of an error or a panic, its bytes are removed from the
/// buffer, so a partial frame is never sent.
#[derive(Debug)]
pub struct Frame<'a> {
    buffer: &'a mut BytesMut,
    start: usize,
    is_whole: bool,
    /// Whether a line of JSON has been started but not ended.
    is_in_line: bool,
    /// The fields set on the event, which override the fields set by the value. `None` if there are
    /// no such fields or if they have already been written.
    fields: Option<&'a Fields>,
    /// The event name to use if the value does not set one.
    default_event: Option<&'a str>,
    /// The id set by the value.
    id: Option<EventId>,
    /// The id to use if the value stops the client from reconnecting.
    stop_id: Option<EventId>,
    /// Whether there are fields to write even if the value sets none.
    has_fields: bool,
}

impl<'a> Frame<'a> {
    /// Starts a frame that has only the fields set by its value.
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
            stop_id: None,
            has_fields: false,
        }
    }

    /// Starts a frame with the fields set on the event.
    pub(crate) fn new(buffer: &'a mut BytesMut, fields: &'a Fields) -> Self {
        let mut frame = Self::of_value(buffer);
        frame.fields = Some(fields);
        frame.has_fields = true;
        frame
    }

    /// Sets the event name to use if the value does not set one.
    pub(crate) fn or_event(mut self, name: &'a str) -> Self {
        self.default_event = Some(name);
        self.has_fields = true;
        self
    }

    /// Sets the id to use if the value stops the client from reconnecting.
    pub(crate) fn or_stop(mut self, id: EventId) -> Self {
        self.stop_id = Some(id);
        self
    }

    /// Writes the fields that precede the data. A field set on the event overrides the same field
    /// set by the value.
    #[inline(never)]
    fn head(&mut self, head: Head) {
        let set = self.fields.take();
        if let Some(comment) = set.and_then(|set| set.comment.as_ref()) {
            line(self.buffer, "", comment.as_str());
        }
        let name = set.and_then(|set| set.event.as_ref());
        let name = name.map(EventName::as_str);
        // An empty name has no effect (WHATWG, "dispatch the event", step 4).
        if let Some(event) = name.or(head.event).or(self.default_event)
            && !event.is_empty()
        {
            line(self.buffer, "event", event);
        }
        if let Some(id) = set.and_then(|set| set.id.as_ref()) {
            line(self.buffer, "id", id);
        } else if let Some(id) = head.id.or(self.stop_id.take().filter(|_| head.stops)) {
            line(self.buffer, "id", &id);
            self.id = Some(id);
        }
        if let Some(retry) = set.and_then(|set| set.retry).or(head.retry) {
            retry_line(self.buffer, retry);
        }
    }

    /// Starts a `data` field that contains JSON. The JSON is the frame's last line.
    ///
    /// Most values have no head, so only the fields set on the event are written before the data.
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

    /// Ends the frame and returns the id set by the value, if any.
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

    /// Ends a frame whose last line is complete.
    ///
    /// Fields are normally written just before the data. In a frame without data, this method
    /// writes them. An `id` takes effect only at a blank line. Without a blank line, an `event`
    /// field would apply to the next event. Comments and `retry` fields need no blank line. A frame
    /// without an `event`, an `id` or data is written without a blank line, because some decoders
    /// emit an event at every blank line.
    #[inline(never)]
    fn finish_line(&mut self) {
        let unwritten = self.fields;
        if unwritten.is_some() {
            self.head(Head::default());
        }
        if unwritten.is_none_or(|fields| fields.event.is_some() || fields.id.is_some()) {
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

/// Writes a frame without data. Clients do not dispatch an event for such a frame.
pub(crate) fn bare_frame(buffer: &mut BytesMut, fields: &Fields) {
    Frame::new(buffer, fields).finish();
}

/// Writes a `retry` line before the next frame.
///
/// The line takes effect even without a blank line. A blank line would turn it into a frame without
/// data, which some clients (httpx-sse, fetch-event-source) treat as an event with empty data and
/// others (reqwest-eventsource, eventsource-client) ignore.
pub(crate) fn retry_line(buffer: &mut BytesMut, retry: Duration) {
    line(buffer, "retry", milliseconds(retry));
}

/// Writes the `done` event. A client that reconnects after this event receives a `204` and stops
/// reconnecting.
///
/// According to the standard, a frame that contains only an id would be enough, and Chromium
/// accepts it. Firefox and most libraries, however, remember only the ids of dispatched events.
/// They would discard this id and reconnect forever.
pub(crate) fn done_frame(buffer: &mut BytesMut, id: &EventId) {
    line(buffer, "event", "done");
    line(buffer, "id", id);
    buffer.put_slice(b"data: null\n\n");
}

/// Writes the `close` event, which states why the stream was closed.
pub(crate) fn close_frame(buffer: &mut BytesMut, reason: &str, id: Option<&EventId>) {
    line(buffer, "event", "close");
    if let Some(id) = id {
        line(buffer, "id", id);
    }
    buffer.put_slice(b"data: {\"reason\":\"");
    buffer.put_slice(reason.as_bytes());
    buffer.put_slice(b"\"}\n\n");
}

/// Writes the `data` field as text, with one `data` line per line of text. LF, CR and CRLF each end
/// a line.
///
/// A space is written after the colon, and clients strip only that space, so a leading space in the
/// text is preserved. Text that ends with a line break produces a trailing empty `data` line. Empty
/// text produces a single empty `data` line and still counts as an event.
fn text(buffer: &mut BytesMut, text: &str) {
    let bytes = text.as_bytes();
    let mut start = 0;
    for at in memchr::memchr2_iter(b'\r', b'\n', bytes) {
        // Skip the LF of a CRLF, because the CR has already ended the line.
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
    debug_assert!(written.is_ok(), "writing to a `BytesMut` cannot fail");
}

/// Converts a duration to milliseconds, the unit of the `retry` field. The result is rounded up so
/// that a delay of less than a millisecond does not become 0. It is also capped at the longest
/// delay that a browser's timer supports, because browsers treat a longer delay as 0.
fn milliseconds(duration: Duration) -> u128 {
    const LONGEST: u128 = i32::MAX as u128;
    duration.as_nanos().div_ceil(1_000_000).min(LONGEST)
}
