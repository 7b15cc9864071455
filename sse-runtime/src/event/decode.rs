//! [`decode`]: decodes an event's name and data into a type that derives
//! [`SseEvent`](crate::SseEvent).

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, EnumAccess, Error as _, IntoDeserializer as _,
        VariantAccess, Visitor,
        value::{StrDeserializer, U32Deserializer},
    },
    forward_to_deserialize_any,
};
use serde_json::{Error, de::StrRead};

use crate::event::sse_event::{Named, NamedData, Shape, SseEvent};

/// Decodes an event into a type that derives [`SseEvent`](crate::SseEvent) and serde's
/// `Deserialize`. A program that reads a stream can therefore use the same type as the server.
///
/// `event` is the event's name, or `message` if the event has no name. `data` is the event's data,
/// with its lines joined by LF. The name selects the variant. If several variants are sent as
/// `message`, the first one that matches the data is used.
///
/// ```
/// use sse_runtime::{SseEvent, event::{DecodeError, decode}};
///
/// #[derive(Debug, PartialEq, SseEvent, serde::Deserialize)]
/// enum ChatEvent {
///     Token { text: String },
///     Finished,
/// }
///
/// let token = decode::<ChatEvent>("token", r#"{"text":"hi"}"#)?;
/// assert_eq!(token, ChatEvent::Token { text: "hi".to_owned() });
/// // A newer server may send events that this program does not know.
/// let unknown = decode::<ChatEvent>("thought", "{}");
/// assert!(matches!(unknown, Err(DecodeError::UnknownEvent { .. })));
/// # Ok::<(), DecodeError>(())
/// ```
///
/// `T` must own its data. For other events that a stream can contain, such as `error`, `gap` and
/// `done`, this function returns [`DecodeError::UnknownEvent`].
///
/// # Errors
///
/// Returns an error if `T` has no event with this name, or if the data does not match `T`.
pub fn decode<T: SseEvent + DeserializeOwned>(event: &str, data: &str) -> Result<T, DecodeError> {
    let is_known = match &T::SHAPE {
        Shape::Struct(named) => is_named(named, event),
        Shape::Enum(variants) | Shape::Whole(variants) => {
            variants.iter().any(|named| is_named(named, event))
        }
    };
    if !is_known {
        return Err(DecodeError::UnknownEvent {
            event: event.to_owned(),
        });
    }
    decode_known(event, data).map_err(|source| DecodeError::Data {
        event: event.to_owned(),
        source,
    })
}

/// The error returned if an event cannot be decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The type has no event with this name.
    #[error("unknown event name `{event}`")]
    #[non_exhaustive]
    UnknownEvent {
        /// The event's name.
        event: String,
    },
    /// The data does not match the type.
    #[error("invalid data for event `{event}`")]
    #[non_exhaustive]
    Data {
        /// The event's name.
        event: String,
        /// The reason.
        source: Error,
    },
}

fn decode_known<T: SseEvent + DeserializeOwned>(event: &str, data: &str) -> Result<T, Error> {
    match &T::SHAPE {
        Shape::Struct(named) => match named.data {
            NamedData::Json => serde_json::from_str(data),
            // Pass the text as a JSON string. `Deserialize` then creates either a newtype or a unit
            // struct from it.
            NamedData::Text => T::deserialize(serde_json::Value::from(data)),
            NamedData::Empty => empty(data).and_then(|()| serde_json::from_str("null")),
        },
        // The data itself determines the variant.
        Shape::Whole(_) => serde_json::from_str(data),
        Shape::Enum(variants) => {
            let mut failure = Error::custom("no variant has this name");
            for (index, named) in (0..).zip(variants.iter()) {
                if !is_named(named, event) {
                    continue;
                }
                let content = Content {
                    kind: named.data,
                    data,
                };
                match T::deserialize(Variant { index, content }) {
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

fn empty(data: &str) -> Result<(), Error> {
    if data.is_empty() {
        Ok(())
    } else {
        Err(Error::custom("expected empty data"))
    }
}

/// A variant without its tag. `index` is the variant's position in serde's `Deserialize`
/// implementation.
struct Variant<'a> {
    index: u32,
    content: Content<'a>,
}

/// The data of a variant.
struct Content<'a> {
    kind: NamedData,
    data: &'a str,
}

impl<'de> Deserializer<'de> for Variant<'de> {
    type Error = Error;

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self)
    }

    // Used for enums with a custom `Deserialize` implementation, such as `#[serde(from = "…")]`.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.content.json(|json| json.deserialize_any(visitor))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Error;
    type Variant = Content<'de>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Content<'de>), Error> {
        let index: U32Deserializer<Error> = self.index.into_deserializer();
        Ok((seed.deserialize(index)?, self.content))
    }
}

impl<'de> Content<'de> {
    /// Parses the data as a JSON value and checks that nothing follows it.
    fn json<T>(
        self,
        read: impl FnOnce(&mut serde_json::Deserializer<StrRead<'de>>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut json = serde_json::Deserializer::from_str(self.data);
        let value = read(&mut json)?;
        json.end()?;
        Ok(value)
    }
}

impl<'de> VariantAccess<'de> for Content<'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.kind {
            NamedData::Empty => empty(self.data),
            _ => self.json(|json| Deserialize::deserialize(json)),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        match self.kind {
            NamedData::Text => {
                let text: StrDeserializer<'_, Error> = self.data.into_deserializer();
                seed.deserialize(text)
            }
            _ => self.json(|json| seed.deserialize(json)),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        self.json(|json| json.deserialize_tuple(len, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.json(|json| json.deserialize_struct("", fields, visitor))
    }
}
