//! [`Rewrite`]: changes the lines of relayed events if the relay is configured to do so, or if a
//! line does not end with an LF.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::splitter::{BOM, Piece, field, value};
use crate::event::id::EventId;

#[derive(Clone, Debug, Default)]
pub(super) struct Rewrite {
    pub(super) skips_comments: bool,
    /// The id of the next event, if ids are replaced.
    pub(super) next_id: Option<u64>,
    /// Whether all lines since the last blank line have been skipped. If so, the blank line that
    /// follows them is skipped too, even if it is in the next piece.
    has_skipped: bool,
}

impl Rewrite {
    /// Rewrites a piece if necessary. Returns the piece's last event ID.
    pub(super) fn apply(&mut self, piece: &mut Piece) -> Option<EventId> {
        let is_rewritten = piece.must_be_rewritten
            || self.next_id.is_some()
            || (self.skips_comments && piece.has_comment)
            || (self.has_skipped && piece.bytes.starts_with(b"\n"));
        if !is_rewritten {
            self.has_skipped = false;
            return piece.id.as_deref().and_then(EventId::received);
        }
        let mut written = BytesMut::with_capacity(piece.bytes.len());
        let mut last_id = None;
        let mut rest = Lines(&piece.bytes);
        while !rest.0.is_empty() {
            let event = rest.clone();
            let has_ended = rest.any(<[u8]>::is_empty);
            let id = self.event(event, &mut written, has_ended);
            last_id = id.or(last_id);
        }
        piece.bytes = written.freeze();
        last_id
    }

    /// Writes one event, which ends at the first blank line. Returns its id.
    fn event(&mut self, lines: Lines<'_>, to: &mut BytesMut, has_ended: bool) -> Option<EventId> {
        let lines = lines.take_while(|line| !line.is_empty());
        let sent = lines.clone().filter(|line| field(line) == b"id").last();
        let sent = sent.and_then(|line| EventId::received(value(line)));
        let has_data = lines.clone().any(|line| field(line) == b"data");
        let mut id = sent;
        let mut due = None;
        if has_data && let Some(next) = &mut self.next_id {
            let new = EventId::from(*next);
            *next += 1;
            id = Some(match id {
                Some(sent) if sent.is_done() => EventId::done(Some(&new)),
                _ => new,
            });
            due.clone_from(&id);
        }
        let before = to.len();
        let mut skipped = std::mem::take(&mut self.has_skipped);
        for line in lines {
            match field(line) {
                b"" if self.skips_comments => {
                    skipped = true;
                    continue;
                }
                // Clients ignore this line, unless the lines before it are not relayed. If it then
                // became the start of the stream, they would remove the byte order mark.
                name if name.starts_with(BOM) => {
                    skipped = true;
                    continue;
                }
                b"id" if self.next_id.is_some() => {
                    skipped = true;
                    continue;
                }
                b"data" => {
                    if let Some(id) = due.take() {
                        to.put_slice(format!("id: {id}\n").as_bytes());
                    }
                }
                _ => {}
            }
            to.put_slice(line);
            to.put_u8(b'\n');
        }
        // If all lines have been skipped, so is the blank line. Some clients dispatch an event at
        // every blank line.
        let is_empty = skipped && to.len() == before;
        if !has_ended {
            self.has_skipped = is_empty;
        } else if !is_empty {
            to.put_u8(b'\n');
        }
        id.filter(|_| has_data || self.next_id.is_none())
    }
}

/// The lines of a piece, without their line breaks.
#[derive(Clone)]
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let at = memchr::memchr2(b'\n', b'\r', self.0)?;
        let (line, rest) = self.0.split_at(at);
        self.0 = rest.strip_prefix(b"\r\n").unwrap_or(&rest[1..]);
        Some(line)
    }
}

/// Returns the piece's bytes with `data` in place of its own data.
pub(super) fn with_data(event: &Bytes, data: &str) -> Bytes {
    let mut written = BytesMut::with_capacity(event.len() + data.len());
    let lines = Lines(event).filter(|line| !line.is_empty() && field(line) != b"data");
    for line in lines {
        written.put_slice(line);
        written.put_u8(b'\n');
    }
    for line in data.split('\n') {
        written.put_slice(b"data: ");
        written.put_slice(line.as_bytes());
        written.put_u8(b'\n');
    }
    written.put_u8(b'\n');
    written.freeze()
}

/// Returns the values of all fields called `name`, in order.
pub(super) fn values<'a>(event: &'a [u8], name: &'static [u8]) -> impl Iterator<Item = &'a [u8]> {
    let lines = Lines(event).filter(move |line| !line.is_empty() && field(line) == name);
    lines.map(value)
}
