//! From an event's name and data back to the value of a type that derives [`SseEvent`](crate::SseEvent).

use serde::{
    Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, EnumAccess, Error as _, IntoDeserializer as _,
        VariantAccess, Visitor, value::U32Deserializer,
    },
    forward_to_deserialize_any,
};
use serde_json::{Error, Value};

use crate::{
    SseEvent,
    sse_event::{Named, NamedData, Shape},
};

pub(super) fn decode<T: SseEvent + DeserializeOwned>(event: &str, data: &str) -> Result<T, Error> {
    match &T::SHAPE {
        Shape::Struct(named) if is_named(named, event) => T::deserialize(content(named, data)?),
        Shape::Struct(_) => Err(unknown(event)),
        // The data says itself which variant it is.
        Shape::Tagged(variants) if variants.iter().any(|named| is_named(named, event)) => {
            serde_json::from_str(data)
        }
        Shape::Tagged(_) => Err(unknown(event)),
        Shape::Enum(variants) => {
            let mut failure = unknown(event);
            for (index, named) in (0..).zip(variants.iter()) {
                if !is_named(named, event) {
                    continue;
                }
                let value = content(named, data)
                    .and_then(|content| T::deserialize(Variant { index, content }));
                match value {
                    Ok(value) => return Ok(value),
                    Err(error) => failure = error,
                }
            }
            Err(failure)
        }
    }
}

fn is_named(named: &Named, event: &str) -> bool {
    named.event.unwrap_or("message") == event
}

fn unknown(event: &str) -> Error {
    Error::custom(format_args!("there is no event `{event}`"))
}

fn content(named: &Named, data: &str) -> Result<Value, Error> {
    match named.data {
        NamedData::Json => serde_json::from_str(data),
        NamedData::Text => Ok(Value::String(data.to_owned())),
        NamedData::Empty if data.is_empty() => Ok(Value::Null),
        NamedData::Empty => Err(Error::custom("its data is not empty")),
    }
}

/// A variant without its tag: serde's `Deserialize` knows it by its place as well, among those that it knows at all.
struct Variant {
    index: u32,
    content: Value,
}

impl<'de> Deserializer<'de> for Variant {
    type Error = Error;

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self)
    }

    // An enum that is deserialised in a way of its own.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.content.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for Variant {
    type Error = Error;
    type Variant = Content;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Content), Error> {
        let index: U32Deserializer<Error> = self.index.into_deserializer();
        Ok((seed.deserialize(index)?, Content(self.content)))
    }
}

/// What is in the variant.
struct Content(Value);

impl<'de> VariantAccess<'de> for Content {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        serde::Deserialize::deserialize(self.0)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self.0)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        self.0.deserialize_tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_struct("", fields, visitor)
    }
}
