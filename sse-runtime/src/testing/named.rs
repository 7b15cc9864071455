//! From an event's name and data back to the value of a type that derives [`SseEvent`](crate::SseEvent).

use serde::{
    Deserializer,
    de::{DeserializeOwned, Error as _, Visitor},
    forward_to_deserialize_any,
};
use serde_json::{Error, Map, Value};

use crate::{
    SseEvent,
    sse_event::{Named, NamedData, Shape},
};

pub(super) fn decode<T: SseEvent + DeserializeOwned>(event: &str, data: &str) -> Result<T, Error> {
    match &T::SHAPE {
        Shape::Struct(named) => {
            if !is_named(named, event) {
                return Err(unknown(event));
            }
            T::deserialize(content(named, data)?)
        }
        Shape::Enum(variants) => {
            let mut failure = unknown(event);
            for (at, named) in variants.iter().enumerate() {
                if !is_named(named, event) {
                    continue;
                }
                match content(named, data)
                    .and_then(|content| T::deserialize(Variant { at, content }))
                {
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

/// A variant without its tag. serde's `Deserialize` of an enum brings the tags along, in their order.
struct Variant {
    at: usize,
    content: Value,
}

impl<'de> Deserializer<'de> for Variant {
    type Error = Error;

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Some(tag) = variants.get(self.at) else {
            return Err(Error::custom("its `Deserialize` knows fewer variants"));
        };
        let tagged = Map::from_iter([((*tag).to_owned(), self.content)]);
        Value::Object(tagged).deserialize_enum(name, variants, visitor)
    }

    // `#[serde(tag = "…")]` and its like: the tag is in the data.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.content.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
