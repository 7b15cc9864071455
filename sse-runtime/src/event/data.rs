//! Writes the `data` field. A value is written as JSON, unless its type derives
//! [`SseEvent`](crate::SseEvent) or [`SseError`](crate::SseError).
//!
//! A type with such a derive implements `Serialize` in the same way as with serde's derive, so
//! every other serializer sees a plain enum or struct. [`DataSerializer`] also receives a [`Head`],
//! and writes an enum's variant without its tag, because the tag is the event's name. serde has no
//! way to pass a head, so [`with_head`] and the serializer use a handshake.

use std::cell::Cell;

use serde::{
    Serialize,
    ser::{self, Error as _, SerializeStruct, SerializeStructVariant},
};
use serde_json::{Error, Value};

use crate::event::{
    frame::{Frame, Head},
    json::value::{Fields, Place, ValueSerializer},
};

thread_local! {
    /// Whether the serializer that [`with_head`] has just probed is a [`DataSerializer`].
    static IS_DATA_SERIALIZER: Cell<bool> = const { Cell::new(false) };
    /// The head that is being passed from the value to the serializer. It is set only inside
    /// [`with_head`].
    static HEAD: Cell<Option<Head>> = const { Cell::new(None) };
}

/// Serializes a value that has a head. `serialize` is the code that serde's derive has generated.
///
/// The call to `is_human_readable` probes the serializer. It is the only method that does not
/// consume the serializer. Wrappers forward it, and `DataSerializer` records the call. If the call
/// was recorded, the head is created and stored in a thread-local, and the next method that is
/// called on the serializer takes it from there. The head never outlives this function, even if the
/// value panics.
pub fn with_head<S: serde::Serializer>(
    serializer: S,
    head: impl FnOnce() -> Head,
    serialize: impl FnOnce(S) -> Result<S::Ok, S::Error>,
) -> Result<S::Ok, S::Error> {
    /// Clears the head even if the value panics, so that the next value does not inherit it.
    struct Clear;
    impl Drop for Clear {
        fn drop(&mut self) {
            HEAD.set(None);
        }
    }

    IS_DATA_SERIALIZER.set(false);
    let _ = serializer.is_human_readable();
    if !IS_DATA_SERIALIZER.replace(false) {
        return serialize(serializer);
    }
    // A head that has not been taken belongs to an outer value that delegates its serialization to
    // this one. The outer head takes precedence.
    if let Some(outer) = HEAD.take() {
        HEAD.set(Some(outer));
        return serialize(serializer);
    }
    let _clear = Clear;
    HEAD.set(Some(head()));
    serialize(serializer)
}

/// Writes the `data` field of `value`, preceded by the fields that the value sets.
pub(crate) fn write<T: Serialize + ?Sized>(frame: &mut Frame<'_>, value: &T) -> Result<(), Error> {
    value.serialize(DataSerializer {
        frame,
        place: &mut Place::default(),
        was_probed: Cell::new(false),
    })
}

/// Writes the fields of a value's head, and then the value's data.
struct DataSerializer<'s, 'f, 'b> {
    frame: &'f mut Frame<'b>,
    place: &'s mut Place<'f>,
    was_probed: Cell<bool>,
}

impl<'s, 'f> DataSerializer<'s, 'f, '_> {
    fn take_head(&self) -> Option<Head> {
        // There is no head without a probe, so a plain value does not access the thread-local.
        self.was_probed.get().then(|| HEAD.take()).flatten()
    }

    /// Takes the head of a value whose tag is the event's name. Such a tag must not be written
    /// again.
    fn take_tag(&self) -> Option<Head> {
        let head = self.take_head()?;
        if head.is_whole {
            HEAD.set(Some(head));
            return None;
        }
        Some(head)
    }

    /// Returns the serializer for a value that is written as JSON, after the fields of its head, if
    /// any.
    fn json(self) -> ValueSerializer<'s, 'f> {
        let head = self.take_head();
        self.write_json(head)
    }

    fn json_with(self, head: Head) -> ValueSerializer<'s, 'f> {
        self.write_json(Some(head))
    }

    fn write_json(self, head: Option<Head>) -> ValueSerializer<'s, 'f> {
        ValueSerializer {
            buffer: self.frame.start_json(head),
            place: self.place,
        }
    }

    /// Writes the only field of a variant or struct that has a head.
    fn content<T: Serialize + ?Sized>(self, head: Head, value: &T) -> Result<(), Error> {
        if !head.is_text {
            return value.serialize(self.json_with(head));
        }
        match value.serialize(serde_json::value::Serializer)? {
            Value::String(text) => {
                self.frame.text(head, &text);
                Ok(())
            }
            _ => Err(Error::custom(
                "`#[sse(text)]` is on a value that is not text",
            )),
        }
    }

    /// Writes a value that has a head but no content, as an event with empty data.
    fn empty_data(self, head: Head) {
        self.frame.text(head, "");
    }
}

/// Implements methods that write the value as JSON.
macro_rules! as_json {
    ($($method:ident($type:ty)),* $(,)?) => {$(
        fn $method(self, value: $type) -> Result<(), Error> {
            self.json().$method(value)
        }
    )*};
}

impl<'s, 'f> ser::Serializer for DataSerializer<'s, 'f, '_> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = <ValueSerializer<'s, 'f> as ser::Serializer>::SerializeSeq;
    type SerializeTuple = Self::SerializeSeq;
    type SerializeTupleStruct = Self::SerializeSeq;
    type SerializeTupleVariant = Self::SerializeSeq;
    type SerializeMap = Self::SerializeSeq;
    type SerializeStruct = Fields<'f>;
    type SerializeStructVariant = StructVariant<'f>;

    as_json! {
        serialize_bool(bool), serialize_char(char), serialize_str(&str), serialize_bytes(&[u8]),
        serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64), serialize_i128(i128),
        serialize_u8(u8), serialize_u16(u16), serialize_u32(u32), serialize_u64(u64), serialize_u128(u128),
        serialize_f32(f32), serialize_f64(f64),
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.json().serialize_none()
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.json().serialize_unit()
    }

    // Wrappers that do not appear in JSON are also transparent to the head.
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        match self.take_tag() {
            Some(head) => self.content(head, value),
            None => value.serialize(self),
        }
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<(), Error> {
        match self.take_tag() {
            Some(head) => self.empty_data(head),
            None => self.json().serialize_unit_struct(name)?,
        }
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        match self.take_tag() {
            Some(head) => self.empty_data(head),
            None => self.json().serialize_unit_variant(name, index, variant)?,
        }
        Ok(())
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        match self.take_tag() {
            Some(head) => self.content(head, value),
            None => self
                .json()
                .serialize_newtype_variant(name, index, variant, value),
        }
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        match self.take_tag() {
            Some(head) => {
                let fields = self.json_with(head).serialize_struct(variant, len)?;
                Ok(StructVariant::Untagged(fields))
            }
            None => {
                let fields = self
                    .json()
                    .serialize_struct_variant(name, index, variant, len)?;
                Ok(StructVariant::Tagged(fields))
            }
        }
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
        len: usize,
    ) -> Result<Self::SerializeStruct, Error> {
        self.json().serialize_struct(name, len)
    }

    fn collect_str<T: std::fmt::Display + ?Sized>(self, value: &T) -> Result<(), Error> {
        self.json().collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        IS_DATA_SERIALIZER.set(true);
        self.was_probed.set(true);
        true
    }
}

/// The fields of a variant. They are nested inside the variant's tag, as in serde's JSON, unless
/// the tag is the event's name.
enum StructVariant<'f> {
    Tagged(Fields<'f>),
    Untagged(Fields<'f>),
}

impl SerializeStructVariant for StructVariant<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        let (Self::Tagged(fields) | Self::Untagged(fields)) = self;
        SerializeStruct::serialize_field(fields, key, value)
    }

    fn end(self) -> Result<(), Error> {
        match self {
            Self::Tagged(fields) => SerializeStructVariant::end(fields),
            Self::Untagged(fields) => SerializeStruct::end(fields),
        }
    }
}
