//! [`Splitter`]: splits chunks of bytes between events, without parsing the events.
//!
//! Source: [WHATWG HTML, "Parsing an event
//! stream"](https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream).

use std::ops::Range;

use bytes::{Buf as _, Bytes, BytesMut};
use memchr::memchr2;

use super::error::RelayError;

/// The byte order mark. At the start of a stream, clients remove it. Elsewhere, it makes a line
/// unknown to them.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

/// How much of the buffer one call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Take {
    /// All complete events, along with the comments and fields around them.
    All,
    /// The lines up to the next blank line.
    One,
}

/// Complete events, or fields and comments that take effect without an event. A piece ends with a
/// line break, so any other line may follow it.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    /// The number of events with data.
    pub(super) events: u64,
    /// The value of the last `id` field, if there is one.
    pub(super) id: Option<Bytes>,
    /// Whether any line ends with a CR, or begins with a byte order mark.
    pub(super) must_be_rewritten: bool,
    pub(super) has_comment: bool,
}

/// Bytes that have been received but not taken yet. At most one of `chunk` and `joined` contains
/// bytes.
#[derive(Debug, Default)]
struct Buffer {
    /// The rest of the last chunk.
    chunk: Bytes,
    /// The bytes of several chunks. Bytes are copied here only if an event does not end in the chunk
    /// in which it begins.
    joined: BytesMut,
}

impl Buffer {
    fn add(&mut self, chunk: Bytes) {
        if self.as_slice().is_empty() {
            self.chunk = chunk;
        } else {
            self.joined
                .extend_from_slice(&std::mem::take(&mut self.chunk));
            self.joined.extend_from_slice(&chunk);
        }
    }

    fn as_slice(&self) -> &[u8] {
        if self.joined.is_empty() {
            &self.chunk
        } else {
            &self.joined
        }
    }

    fn split_to(&mut self, at: usize) -> Bytes {
        if self.joined.is_empty() {
            self.chunk.split_to(at)
        } else {
            let taken = self.joined.split_to(at).freeze();
            // Releases the memory of a large event once it has been sent.
            if self.joined.is_empty() {
                self.joined = BytesMut::new();
            }
            taken
        }
    }

    fn advance(&mut self, by: usize) {
        if self.joined.is_empty() {
            self.chunk.advance(by);
        } else {
            self.joined.advance(by);
        }
    }
}

/// The lines of the current event that have been found so far.
#[derive(Debug, Default)]
struct Lines {
    has_data: bool,
    /// Whether a field other than `retry` has been found. Comments and `retry` fields take effect
    /// without a blank line. The other fields belong to an event that has not ended yet.
    has_fields: bool,
    id: Option<Bytes>,
    must_be_rewritten: bool,
    has_comment: bool,
}

/// Splits a stream of bytes.
///
/// All positions are relative to the start of the buffer. All line breaks before `searched` have
/// been found, and `event <= line <= searched`.
#[derive(Debug)]
pub(super) struct Splitter {
    buffer: Buffer,
    searched: usize,
    /// The start of the current line.
    line: usize,
    /// The start of the current event.
    event: usize,
    lines: Lines,
    /// Whether the last line ended with a CR and no byte has followed yet. If an LF follows, it
    /// belongs to the same line break.
    after_cr: bool,
    /// Whether the start of the stream has been checked for a byte order mark.
    has_started: bool,
    /// Whether an event larger than the limit follows what has been taken.
    is_too_large: bool,
    pub(super) max_event_size: usize,
}

impl Splitter {
    pub(super) fn new(max_event_size: usize) -> Self {
        Self {
            buffer: Buffer::default(),
            searched: 0,
            line: 0,
            event: 0,
            lines: Lines::default(),
            after_cr: false,
            has_started: false,
            is_too_large: false,
            max_event_size,
        }
    }

    pub(super) fn add(&mut self, chunk: Bytes) {
        self.buffer.add(chunk);
        if !self.has_started {
            let start = self.buffer.as_slice();
            if start.len() < BOM.len() && BOM.starts_with(start) {
                // The rest of the byte order mark may follow.
                return;
            }
            self.has_started = true;
            if start.starts_with(BOM) {
                self.buffer.advance(BOM.len());
            }
        }
    }

    /// Takes the next complete piece. Returns `None` if more bytes are needed.
    ///
    /// # Errors
    ///
    /// Returns an error if an event is larger than the limit.
    pub(super) fn take(&mut self, take: Take) -> Result<Option<Piece>, RelayError> {
        if !self.has_started {
            return Ok(None);
        }
        self.check_limit()?;
        let mut piece = Piece {
            bytes: Bytes::new(),
            events: 0,
            id: None,
            must_be_rewritten: false,
            has_comment: false,
        };
        // The end of the complete piece.
        let mut end = 0;
        loop {
            if self.after_cr {
                self.finish_crlf(&mut end);
            }
            let Some(line) = self.next_line() else {
                break;
            };
            let is_blank = self.read_line(line, take);
            if is_blank || !self.lines.has_fields {
                self.is_too_large = self.exceeds_limit(self.line);
                if self.is_too_large {
                    break;
                }
                self.commit(&mut piece, is_blank);
                end = self.line;
                if is_blank && take == Take::One {
                    break;
                }
            }
        }
        self.is_too_large |= self.exceeds_limit(self.searched);
        if end == 0 {
            self.check_limit()?;
            return Ok(None);
        }
        piece.bytes = self.buffer.split_to(end);
        self.searched -= end;
        self.line -= end;
        self.event -= end;
        Ok(Some(piece))
    }

    /// Skips an LF that follows a CR. If the piece ends with the CR, the LF belongs to it too.
    #[cold]
    fn finish_crlf(&mut self, end: &mut usize) {
        let Some(&next) = self.buffer.as_slice().get(self.searched) else {
            return;
        };
        self.after_cr = false;
        if next != b'\n' {
            return;
        }
        if self.searched == 0 {
            // The line has already been taken.
            self.buffer.advance(1);
            return;
        }
        self.searched += 1;
        if self.event == self.line {
            self.event = self.searched;
            *end = self.searched;
        }
        self.line = self.searched;
    }

    /// Finds the next complete line and returns its range, without the line break.
    fn next_line(&mut self) -> Option<Range<usize>> {
        let bytes = self.buffer.as_slice();
        let rest = &bytes[self.searched..];
        let found = match rest.first() {
            // Usually the blank line that ends an event, so no search is needed.
            Some(b'\n') => Some(0),
            _ => memchr2(b'\n', b'\r', rest),
        };
        let Some(found) = found else {
            self.searched = bytes.len();
            return None;
        };
        let at = self.searched + found;
        let line = self.line..at;
        self.after_cr = bytes[at] == b'\r';
        self.lines.must_be_rewritten |= self.after_cr;
        self.searched = at + 1;
        self.line = at + 1;
        Some(line)
    }

    /// Records a line and returns whether it is blank.
    fn read_line(&mut self, line: Range<usize>, take: Take) -> bool {
        let line = &self.buffer.as_slice()[line];
        if line.is_empty() {
            return true;
        }
        // A shortcut, because most lines are `data` fields.
        if line.starts_with(b"data:") {
            self.lines.has_data = true;
            self.lines.has_fields = true;
            return false;
        }
        match field(line) {
            b"" => self.lines.has_comment = true,
            // A single event is returned along with the `retry` field that precedes it.
            b"retry" if take == Take::All => {}
            b"data" => {
                self.lines.has_data = true;
                self.lines.has_fields = true;
            }
            // Clients ignore such an id.
            b"id" if value(line).contains(&0) => self.lines.has_fields = true,
            b"id" => {
                self.lines.id = Some(Bytes::copy_from_slice(value(line)));
                self.lines.has_fields = true;
            }
            name => {
                self.lines.must_be_rewritten |= name.starts_with(BOM);
                self.lines.has_fields = true;
            }
        }
        false
    }

    /// Adds the current lines to the piece.
    fn commit(&mut self, piece: &mut Piece, is_blank: bool) {
        let lines = &mut self.lines;
        piece.events += u64::from(is_blank && lines.has_data);
        piece.must_be_rewritten |= lines.must_be_rewritten;
        piece.has_comment |= lines.has_comment;
        if lines.id.is_some() {
            piece.id = lines.id.take();
        }
        *lines = Lines::default();
        self.event = self.line;
    }

    fn exceeds_limit(&self, end: usize) -> bool {
        end - self.event > self.max_event_size
    }

    fn check_limit(&self) -> Result<(), RelayError> {
        if self.is_too_large {
            return Err(RelayError::TooLarge {
                limit: self.max_event_size,
            });
        }
        Ok(())
    }
}

/// Returns the field name of a line. It is empty if the line is a comment.
pub(super) fn field(line: &[u8]) -> &[u8] {
    match line.iter().position(|&byte| byte == b':') {
        Some(colon) => &line[..colon],
        None => line,
    }
}

/// Returns the value of a line.
pub(super) fn value(line: &[u8]) -> &[u8] {
    let Some(colon) = line.iter().position(|&byte| byte == b':') else {
        return b"";
    };
    let value = &line[colon + 1..];
    value.strip_prefix(b" ").unwrap_or(value)
}
