//! JSON in one line, for every client that there is.
//!
//! JSON may hold U+0085, U+2028 and U+2029 unescaped, and compact JSON never holds CR or LF. Clients that split their
//! input by Unicode's line breaks instead of the standard's (Python's `splitlines` is one) break such data in two, so
//! the three are escaped; a parser gives the same text back. A `RawValue` comes as its author wrote it, pretty or not,
//! and is compacted.

use std::io;

use bytes::BytesMut;
use serde_json::ser::{Formatter, Serializer};

/// A serializer of one line.
pub(crate) fn serializer<W: io::Write>(writer: W) -> Serializer<W, SingleLine> {
    Serializer::with_formatter(writer, SingleLine)
}

/// The serializer that writes into a connection's buffer.
pub(crate) type LineSerializer<'b> = Serializer<Buffer<'b>, SingleLine>;

/// A buffer that JSON is written into, mostly a byte or a word at a time: it grows, and takes each at once.
#[derive(Debug)]
pub(crate) struct Buffer<'b>(pub(crate) &'b mut BytesMut);

// Inlined where the value is serialised, in the user's crate: what is written is mostly a byte that is known there.
impl io::Write for Buffer<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compact JSON without the characters that some clients take for the end of a line.
pub(crate) struct SingleLine;

impl Formatter for SingleLine {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        write_escaped(writer, fragment)
    }

    fn write_raw_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        // A fragment is a whole, valid JSON text: outside of a string, white space stands only between tokens that
        // need none, and inside of one there are no raw control characters.
        let mut in_string = false;
        let mut escaped = false;
        let mut start = 0;
        for (at, byte) in fragment.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                b' ' | b'\t' | b'\r' | b'\n' if !in_string => {
                    write_escaped(writer, &fragment[start..at])?;
                    start = at + 1;
                }
                _ => {}
            }
        }
        write_escaped(writer, &fragment[start..])
    }
}

#[inline]
fn write_escaped<W: ?Sized + io::Write>(writer: &mut W, text: &str) -> io::Result<()> {
    // Most text is, and most is short: to see it costs less than to begin to look for two bytes.
    if text.is_ascii() {
        return writer.write_all(text.as_bytes());
    }
    write_beyond_ascii(writer, text)
}

fn write_beyond_ascii<W: ?Sized + io::Write>(writer: &mut W, text: &str) -> io::Result<()> {
    let bytes = text.as_bytes();
    let mut start = 0;
    // U+0085 is C2 85, U+2028 is E2 80 A8, U+2029 is E2 80 A9.
    for at in memchr::memchr2_iter(0xc2, 0xe2, bytes) {
        let (escape, len): (&[u8], _) = match bytes[at..] {
            [0xc2, 0x85, ..] => (br"\u0085", 2),
            [0xe2, 0x80, 0xa8, ..] => (br"\u2028", 3),
            [0xe2, 0x80, 0xa9, ..] => (br"\u2029", 3),
            _ => continue,
        };
        writer.write_all(&bytes[start..at])?;
        writer.write_all(escape)?;
        start = at + len;
    }
    writer.write_all(&bytes[start..])
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde_json::{json, value::RawValue};

    use super::*;

    fn line<T: Serialize + ?Sized>(value: &T) -> String {
        let mut out = Vec::new();
        value.serialize(&mut serializer(&mut out)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn line_breaks_of_every_kind_are_escaped() {
        let text = "a\nb\rc\u{85}d\u{2028}e\u{2029}f\u{80}\u{2027}é";
        let line = line(text);
        assert_eq!(line, "\"a\\nb\\rc\\u0085d\\u2028e\\u2029f\u{80}\u{2027}é\"");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
    }

    #[test]
    fn keys_are_text_too() {
        assert_eq!(line(&json!({ "\u{2028}": 1 })), r#"{"\u2028":1}"#);
    }

    #[test]
    fn raw_values_are_compacted() {
        let raw = "{\r\n  \"a b\" : [ 1,\n 2 ],\t\"c\\\" \u{2028}\": \"x  y\\\\\" \r}";
        let raw = RawValue::from_string(raw.to_owned()).unwrap();
        let line = line(&raw);
        assert_eq!(line, r#"{"a b":[1,2],"c\" \u2028":"x  y\\"}"#);
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&line).unwrap(),
            serde_json::from_str::<serde_json::Value>(raw.get()).unwrap()
        );
    }

    #[test]
    fn not_a_number_is_null() {
        assert_eq!(line(&[f64::NAN, f64::INFINITY]), "[null,null]");
    }
}
