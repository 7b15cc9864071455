//! [`ValueSerializer`]: writes a value as one line of JSON, with a fast path for small structs.
//!
//! Most events are structs with a few strings and numbers. `serde_json` inspects every byte of
//! every name and string, and writes `,`, `"`, the name, `"` and `:` one by one. With `serde_json`
//! alone, this accounted for half the time spent in a `yield_!`. This module assembles `"name":` at
//! compile time, writes it as two machine words, and checks text eight bytes at a time. All other
//! work, including all escaping, is delegated to `serde_json`, so the output is identical to
//! `serde_json`'s.

use bytes::{BufMut as _, BytesMut};
use serde::{
    Serialize, Serializer as _,
    ser::{self, SerializeStruct, SerializeStructVariant},
};
use serde_json::{
    Error,
    ser::{Compound, Formatter as _},
};

use crate::event::json::line::{self, Buffer, LineSerializer, SingleLine};

/// The name prefix shared by `serde_json`'s marker structs. These structs are used for `RawValue`
/// and, with the `arbitrary_precision` feature, for numbers. A marker struct is serialized as the
/// JSON in its only field. A Rust identifier cannot contain `$`, so no user-defined struct name can
/// start with this prefix by accident.
const VERBATIM: &str = "$serde_json::private::";

/// Writes one value.
pub(crate) struct ValueSerializer<'p, 'b> {
    pub(crate) buffer: &'b mut BytesMut,
    pub(crate) slot: &'p mut ValueSlot<'b>,
}

/// State kept outside [`ValueSerializer`] because the serializer's methods consume `self`.
#[derive(Default)]
pub(crate) struct ValueSlot<'b> {
    /// The `serde_json` serializer, created on first use. `serde_json`'s compound serializers
    /// borrow from it.
    json: Option<LineSerializer<'b>>,
    /// Whether the value is a string that already contains JSON.
    is_verbatim: bool,
}

impl<'p, 'b> ValueSerializer<'p, 'b> {
    /// Returns the `serde_json` serializer for sequences and maps, which are written in more than
    /// one call. The serializer is stored in [`ValueSlot`] because it must outlive these calls.
    fn json(self) -> &'p mut LineSerializer<'b> {
        self.slot.json.insert(line::serializer(Buffer(self.buffer)))
    }
}

/// Implements serializer methods that delegate to `serde_json`.
macro_rules! as_json {
    ($($method:ident($($value:ident: $type:ty)?)),* $(,)?) => {$(
        fn $method(self, $($value: $type)?) -> Result<(), Error> {
            line::serializer(Buffer(self.buffer)).$method($($value)?)
        }
    )*};
}

impl<'p, 'b> ser::Serializer for ValueSerializer<'p, 'b> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Compound<'p, Buffer<'b>, SingleLine>;
    type SerializeTuple = Self::SerializeSeq;
    type SerializeTupleStruct = Self::SerializeSeq;
    type SerializeTupleVariant = Self::SerializeSeq;
    type SerializeMap = Self::SerializeSeq;
    type SerializeStruct = ObjectWriter<'b>;
    type SerializeStructVariant = ObjectWriter<'b>;

    as_json! {
        serialize_bool(value: bool), serialize_char(value: char), serialize_bytes(value: &[u8]),
        serialize_i8(value: i8), serialize_i16(value: i16), serialize_i32(value: i32), serialize_i64(value: i64),
        serialize_u8(value: u8), serialize_u16(value: u16), serialize_u32(value: u32), serialize_u64(value: u64),
        serialize_i128(value: i128), serialize_u128(value: u128), serialize_f32(value: f32), serialize_f64(value: f64),
        serialize_none(), serialize_unit(), serialize_unit_struct(name: &'static str),
    }

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        if self.slot.is_verbatim {
            return SingleLine
                .write_raw_fragment(&mut Buffer(self.buffer), text)
                .map_err(Error::io);
        }
        string(self.buffer, text)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        string(self.buffer, variant)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        let mut fields = ObjectWriter::new(self.buffer);
        SerializeStruct::serialize_field(&mut fields, variant, value)?;
        SerializeStruct::end(fields)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, Error> {
        self.json().serialize_seq(len)
    }

    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, Error> {
        self.json().serialize_tuple(len)
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, Error> {
        self.json().serialize_tuple_struct(name, len)
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        self.json()
            .serialize_tuple_variant(name, index, variant, len)
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, Error> {
        self.json().serialize_map(len)
    }

    fn serialize_struct(
        self,
        name: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStruct, Error> {
        let mut fields = ObjectWriter::new(self.buffer);
        if name.starts_with(VERBATIM) {
            fields.opening = None;
        }
        Ok(fields)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        let mut tag = ObjectWriter::new(self.buffer);
        tag.key(variant)?;
        Ok(ObjectWriter::new(tag.buffer))
    }

    fn collect_str<T: std::fmt::Display + ?Sized>(self, value: &T) -> Result<(), Error> {
        line::serializer(Buffer(self.buffer)).collect_str(value)
    }
}

/// The fields of a struct or struct variant.
pub(crate) struct ObjectWriter<'b> {
    buffer: &'b mut BytesMut,
    /// The byte to write before the next name: an opening brace before the first name and a comma
    /// before every other name. `None` if the struct is replaced by the JSON in its only field.
    opening: Option<u8>,
}

impl<'b> ObjectWriter<'b> {
    fn new(buffer: &'b mut BytesMut) -> Self {
        Self {
            buffer,
            opening: Some(b'{'),
        }
    }

    /// Writes a field name, preceded by the opening byte and followed by a colon.
    // Inline this method into the caller, where the name is a constant, so that the compiler can
    // assemble the bytes of the `ShortKey` at compile time.
    #[inline]
    fn key(&mut self, name: &str) -> Result<(), Error> {
        match ShortKey::new(name) {
            Some(key) => self.short_key(key),
            None => self.any_key(name),
        }
    }

    fn short_key(&mut self, key: ShortKey) -> Result<(), Error> {
        let Some(opening) = self.opening else {
            // The only name allowed here starts with `VERBATIM` and is therefore too long for a
            // short key.
            return Err(unexpected_field());
        };
        self.opening = Some(b',');
        key.write(self.buffer, opening);
        Ok(())
    }

    fn any_key(&mut self, name: &str) -> Result<(), Error> {
        let Some(opening) = self.opening else {
            let is_verbatim = name.starts_with(VERBATIM);
            return is_verbatim.then_some(()).ok_or_else(unexpected_field);
        };
        self.opening = Some(b',');
        self.buffer.put_u8(opening);
        string(self.buffer, name)?;
        self.buffer.put_u8(b':');
        Ok(())
    }

    fn close(&mut self) {
        match self.opening {
            Some(b',') => self.buffer.put_u8(b'}'),
            Some(_) => self.buffer.put_slice(b"{}"),
            None => {}
        }
    }
}

/// Returns the error for an additional field in a struct replaced by JSON. For an internally tagged
/// enum, serde adds the tag to the fields of the variant's content. A struct replaced by JSON
/// cannot hold an additional field.
#[cold]
fn unexpected_field() -> Error {
    ser::Error::custom("a `RawValue` or an arbitrary-precision number cannot hold an enum's tag")
}

impl SerializeStruct for ObjectWriter<'_> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.key(name)?;
        value.serialize(ValueSerializer {
            buffer: self.buffer,
            slot: &mut ValueSlot {
                json: None,
                is_verbatim: self.opening.is_none(),
            },
        })
    }

    fn end(mut self) -> Result<(), Error> {
        self.close();
        Ok(())
    }
}

impl SerializeStructVariant for ObjectWriter<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        SerializeStruct::serialize_field(self, name, value)
    }

    /// Closes the object containing the fields and the enclosing object containing the tag.
    fn end(mut self) -> Result<(), Error> {
        self.close();
        self.buffer.put_u8(b'}');
        Ok(())
    }
}

/// The bytes of `"name":`, where the name needs no escapes. Together with the byte that precedes
/// them, these bytes fit into a `u128`.
#[derive(Clone, Copy)]
struct ShortKey {
    /// The bytes in little-endian order. The first byte is the least significant.
    bytes: u128,
    len: usize,
}

impl ShortKey {
    #[inline]
    fn new(name: &str) -> Option<Self> {
        let len = name.len() + br#"{"":"#.len();
        if len > size_of::<u128>() || !is_plain(name) {
            return None;
        }
        let push = |bytes, byte| bytes << 8 | u128::from(byte);
        let name_and_end = name
            .bytes()
            .rev()
            .fold(u128::from(u16::from_le_bytes(*b"\":")), push);
        Some(Self {
            bytes: push(name_and_end, b'"'),
            len,
        })
    }

    fn write(self, buffer: &mut BytesMut, opening: u8) {
        let end = buffer.len() + self.len;
        // Write all 16 bytes and then truncate the buffer. Writing a variable number of bytes would
        // require a `memcpy` call.
        buffer.put_slice(&(self.bytes << 8 | u128::from(opening)).to_le_bytes());
        buffer.truncate(end);
    }
}

/// Writes a string. Delegates to `serde_json` if the string may need escapes.
fn string(buffer: &mut BytesMut, text: &str) -> Result<(), Error> {
    if !is_plain(text) {
        return line::serializer(Buffer(buffer)).serialize_str(text);
    }
    buffer.put_u8(b'"');
    buffer.put_slice(text.as_bytes());
    buffer.put_u8(b'"');
    Ok(())
}

/// Returns `true` if the text is ASCII without control characters, `"` or `\`, and therefore needs
/// no escapes. If this function returns `false`, `serde_json` determines whether the text really
/// needs escapes.
#[inline]
fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    // The last word overlaps the previous word, so the remaining bytes need not be checked one by
    // one.
    if let Some(&last) = bytes.last_chunk() {
        let (words, _) = bytes.as_chunks();
        return words
            .iter()
            .chain([&last])
            .all(|&word| is_plain_word(u64::from_le_bytes(word)));
    }
    if let (Some(&first), Some(&last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(first), u32::from_le_bytes(last));
        return is_plain_word(u64::from(first) << 32 | u64::from(last));
    }
    let spaces = u64::from_le_bytes([b' '; 8]);
    let shift_in = |word, &byte| word << 8 | u64::from(byte);
    is_plain_word(bytes.iter().fold(spaces, shift_in))
}

/// Performs the [`is_plain`] check on eight bytes in parallel. A byte that is not plain sets a high
/// bit.
#[inline]
fn is_plain_word(word: u64) -> bool {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH_BITS: u64 = ONES << 7;

    // Each subtraction tests all bytes for one kind of byte that is not plain. A byte borrows from
    // the next one only if it is not plain itself, in which case the word is not plain anyway. In a
    // plain word, no byte borrows, so no byte can be reported by mistake.
    let control = word.wrapping_sub(ONES * 0x20);
    let quote = (word ^ (ONES * 0x22)).wrapping_sub(ONES);
    let backslash = (word ^ (ONES * 0x5c)).wrapping_sub(ONES);
    (word | control | quote | backslash) & HIGH_BITS == 0
}

#[cfg(test)]
mod tests;
