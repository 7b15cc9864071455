//! The encoder: from an event to its frame, straight into the connection's buffer.
//!
//! Source: [WHATWG HTML, "Parsing an event stream"](https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream).
//! Every line that is written here starts with an ASCII field name or a colon, so a byte order mark in somebody's data
//! is never the first character of the stream.

use std::{fmt, fmt::Write as _, time::Duration};

use bytes::{BufMut as _, BytesMut};

use crate::{Comment, EventId, EventName};

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

/// Writes one frame: the fields, the data that `data` writes, and the blank line that ends it.
///
/// On an error, and on a panic, the buffer is as it was before: half a frame is never sent.
pub(crate) fn frame(
    buffer: &mut BytesMut,
    fields: &Fields,
    data: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let mut frame = WholeFrame {
        start: buffer.len(),
        buffer,
        is_whole: false,
    };
    let buffer = &mut *frame.buffer;
    if let Some(comment) = &fields.comment {
        line(buffer, "", comment.as_str());
    }
    // An empty name is none, as the standard has it.
    if let Some(event) = &fields.event
        && !event.as_str().is_empty()
    {
        line(buffer, "event", event.as_str());
    }
    if let Some(id) = &fields.id {
        line(buffer, "id", id);
    }
    if let Some(retry) = fields.retry {
        line(buffer, "retry", milliseconds(retry));
    }
    data(buffer)?;
    buffer.put_u8(b'\n');
    frame.is_whole = true;
    Ok(())
}

/// Takes back what was written of a frame, unless it became a whole one.
struct WholeFrame<'a> {
    buffer: &'a mut BytesMut,
    start: usize,
    is_whole: bool,
}

impl Drop for WholeFrame<'_> {
    fn drop(&mut self) {
        if !self.is_whole {
            self.buffer.truncate(self.start);
        }
    }
}

/// Writes a frame without data, which dispatches nothing.
pub(crate) fn bare_frame(buffer: &mut BytesMut, fields: &Fields) {
    let written = frame(buffer, fields, |_| Ok(()));
    debug_assert!(
        written.is_ok(),
        "a frame without data has nothing to serialise"
    );
}

/// Writes the `data` field as one line of JSON.
pub(crate) fn json<T: serde::Serialize + ?Sized>(
    buffer: &mut BytesMut,
    value: &T,
) -> Result<(), EncodeError> {
    buffer.put_slice(b"data: ");
    crate::json::write(buffer.writer(), value)?;
    buffer.put_u8(b'\n');
    Ok(())
}

/// Writes the `data` field as text: one `data` line for each line of it, where LF, CR and CRLF end a line each.
///
/// The space behind the colon is the one that clients strip, so a leading space of the text survives; text that ends
/// with a line break ends with an empty `data` line; empty text is one empty `data` line, and still an event.
pub(crate) fn text(buffer: &mut BytesMut, text: &str) {
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
