//! JSON that every client reads as a single line.
//!
//! Compact JSON never contains CR or LF, but it may contain U+0085, U+2028 and U+2029 unescaped.
//! Some clients split their input at every Unicode line break (for example, with Python's
//! `splitlines`) and would split the data in two. The serializer therefore escapes the three
//! characters, and a JSON parser restores them. A `RawValue` may contain line breaks between its
//! tokens, so the serializer also removes insignificant whitespace.

use std::io;

use bytes::BytesMut;
use serde_json::ser::{Formatter, Serializer};

/// Creates a `serde_json` serializer that writes a single line.
pub(crate) fn serializer<W: io::Write>(writer: W) -> Serializer<W, SingleLine> {
    Serializer::with_formatter(writer, SingleLine)
}

/// A serializer that writes into a connection's buffer.
pub(crate) type LineSerializer<'b> = Serializer<Buffer<'b>, SingleLine>;

/// Appends to a buffer. The buffer grows as needed, so a write is never partial and never fails.
#[derive(Debug)]
pub(crate) struct Buffer<'b>(pub(crate) &'b mut BytesMut);

// Inline these methods into the user's crate, where values are serialized. Most writes append a
// single constant byte, so a function call would cost more than the write itself.
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

/// Formats compact JSON and escapes the characters that some clients treat as line breaks.
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
        // A fragment is a complete and valid JSON text. Outside strings, whitespace is
        // insignificant. Inside strings, control characters are always escaped.
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
    // Most strings are short and contain only ASCII characters, and checking for ASCII is cheaper
    // than starting a `memchr` search for two bytes.
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
    fn every_kind_of_line_break_is_escaped() {
        let text = "a\nb\rc\u{85}d\u{2028}e\u{2029}f\u{80}\u{2027}é";
        let line = line(text);
        assert_eq!(line, "\"a\\nb\\rc\\u0085d\\u2028e\\u2029f\u{80}\u{2027}é\"");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
    }

    #[test]
    fn line_breaks_in_keys_are_escaped() {
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
    fn non_finite_floats_become_null() {
        assert_eq!(line(&[f64::NAN, f64::INFINITY]), "[null,null]");
    }
}
