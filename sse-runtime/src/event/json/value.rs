//! The serializer of a value as one line of JSON: `serde_json`'s, but for what small structs are made of.
//!
//! Most events are a struct of a few words and numbers. `serde_json` looks at each byte of each name and text, and writes
//! `,`, `"`, the name, `"` and `:` one by one; that was half of what a `yield_!` cost. Here `"name":` is made when the
//! program is compiled and written as two words of memory, and text is looked at eight bytes at a time. What is neither an
//! object of fields nor plain text is left to `serde_json`, and so is each escape: the bytes are the same.

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

/// How the names begin of the structs that stand for their one field, which is JSON: `RawValue`, and the numbers of
/// `arbitrary_precision`. No struct of anybody else's can have such a name.
const VERBATIM: &str = "$serde_json::private::";

/// Writes one value.
pub(crate) struct ValueSerializer<'p, 'b> {
    pub(crate) buffer: &'b mut BytesMut,
    pub(crate) place: &'p mut Place<'b>,
}

/// What outlives a [`ValueSerializer`], which is used up by the first call.
#[derive(Default)]
pub(crate) struct Place<'b> {
    /// Where the serializer of `serde_json` lives, once there is one: what serde hands back borrows from it.
    json: Option<LineSerializer<'b>>,
    /// The value is text that is JSON already.
    is_verbatim: bool,
}

impl<'p, 'b> ValueSerializer<'p, 'b> {
    /// The serializer of `serde_json`, for what one call does not write whole.
    fn json(self) -> &'p mut LineSerializer<'b> {
        self.place
            .json
            .insert(line::serializer(Buffer(self.buffer)))
    }
}

/// What `serde_json` writes.
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
    type SerializeStruct = Fields<'b>;
    type SerializeStructVariant = Fields<'b>;

    as_json! {
        serialize_bool(value: bool), serialize_char(value: char), serialize_bytes(value: &[u8]),
        serialize_i8(value: i8), serialize_i16(value: i16), serialize_i32(value: i32), serialize_i64(value: i64),
        serialize_u8(value: u8), serialize_u16(value: u16), serialize_u32(value: u32), serialize_u64(value: u64),
        serialize_i128(value: i128), serialize_u128(value: u128), serialize_f32(value: f32), serialize_f64(value: f64),
        serialize_none(), serialize_unit(), serialize_unit_struct(name: &'static str),
    }

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        if self.place.is_verbatim {
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
        let mut fields = Fields::new(self.buffer);
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
        let mut fields = Fields::new(self.buffer);
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
        let mut tag = Fields::new(self.buffer);
        tag.key(variant)?;
        Ok(Fields::new(tag.buffer))
    }

    fn collect_str<T: std::fmt::Display + ?Sized>(self, value: &T) -> Result<(), Error> {
        line::serializer(Buffer(self.buffer)).collect_str(value)
    }
}

/// The fields of a struct, or of a variant.
pub(crate) struct Fields<'b> {
    buffer: &'b mut BytesMut,
    /// What comes before the next name: the brace, then commas. There is none where the one field holds what is written in
    /// the struct's place.
    opening: Option<u8>,
}

impl<'b> Fields<'b> {
    fn new(buffer: &'b mut BytesMut) -> Self {
        Self {
            buffer,
            opening: Some(b'{'),
        }
    }

    /// Writes what comes before a field's value.
    // Inlined where the name is written down, so that it is the compiler who makes its bytes.
    #[inline]
    fn key(&mut self, name: &str) -> Result<(), Error> {
        match ShortKey::new(name) {
            Some(key) => self.short_key(key),
            None => self.any_key(name),
        }
    }

    fn short_key(&mut self, key: ShortKey) -> Result<(), Error> {
        let Some(opening) = self.opening else {
            // The one name that there may be is longer.
            return Err(another_field());
        };
        self.opening = Some(b',');
        key.write(self.buffer, opening);
        Ok(())
    }

    fn any_key(&mut self, name: &str) -> Result<(), Error> {
        let Some(opening) = self.opening else {
            let is_its_own = name.starts_with(VERBATIM);
            return is_its_own.then_some(()).ok_or_else(another_field);
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

/// serde puts the tag of an internally tagged enum among the fields of what is in it, and here there are none.
#[cold]
fn another_field() -> Error {
    ser::Error::custom("a `RawValue`, or a number of any precision, cannot hold the tag of an enum")
}

impl SerializeStruct for Fields<'_> {
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
            place: &mut Place {
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

impl SerializeStructVariant for Fields<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        SerializeStruct::serialize_field(self, name, value)
    }

    /// Ends the variant, and its tag.
    fn end(mut self) -> Result<(), Error> {
        self.close();
        self.buffer.put_u8(b'}');
        Ok(())
    }
}

/// `"name":` of a name that needs no escape, as long as it is short: with the byte before it, two words of memory.
#[derive(Clone, Copy)]
struct ShortKey {
    /// The first byte is the lowest.
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
        // To write all of it, and take back what was too much, is no call of `memcpy`.
        buffer.put_slice(&(self.bytes << 8 | u128::from(opening)).to_le_bytes());
        buffer.truncate(end);
    }
}

/// Writes a string.
fn string(buffer: &mut BytesMut, text: &str) -> Result<(), Error> {
    if !is_plain(text) {
        return line::serializer(Buffer(buffer)).serialize_str(text);
    }
    buffer.put_u8(b'"');
    buffer.put_slice(text.as_bytes());
    buffer.put_u8(b'"');
    Ok(())
}

/// Whether nothing in the text has to be escaped, as far as is seen at a glance: it is ASCII without control characters.
#[inline]
fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    // Words overlap rather than that the rest is looked at a byte at a time.
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

/// The same of eight bytes at once: each that is not plain sets a highest bit.
#[inline]
fn is_plain_word(word: u64) -> bool {
    const EACH: u64 = u64::from_le_bytes([1; 8]);
    const HIGHEST: u64 = EACH << 7;

    // A subtraction borrows from the next byte only where it has found one; so none is found without reason.
    let control = word.wrapping_sub(EACH * 0x20);
    let quote = (word ^ (EACH * 0x22)).wrapping_sub(EACH);
    let backslash = (word ^ (EACH * 0x5c)).wrapping_sub(EACH);
    (word | control | quote | backslash) & HIGHEST == 0
}

#[cfg(test)]
mod tests;
