//! [`PresenceEvent`]: a change in presence.

use serde::Deserialize;

use crate::SseEvent;

/// A change in presence, sent as a `joined` or `left` event with the data `{"who":…,"count":…}`.
///
/// A client written in Rust can use this type to [`decode`](crate::event::decode) the events.
///
/// ```
/// use sse_runtime::{event::decode, topic::PresenceEvent};
///
/// let event: PresenceEvent<String> = decode("joined", r#"{"who":"ada","count":1}"#)?;
/// assert_eq!((event.who().as_str(), event.count()), ("ada", 1));
/// # Ok::<(), sse_runtime::event::DecodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, SseEvent, Deserialize)]
#[sse(crate = crate)]
#[non_exhaustive]
pub enum PresenceEvent<K> {
    /// A member that was not present has joined.
    Joined {
        /// The member.
        who: K,
        /// The number of members present now.
        count: usize,
    },
    /// A member left and did not return within the grace time.
    Left {
        /// The member.
        who: K,
        /// The number of members present now.
        count: usize,
    },
}

impl<K> PresenceEvent<K> {
    /// Returns the member that has joined or left.
    pub fn who(&self) -> &K {
        match self {
            Self::Joined { who, .. } | Self::Left { who, .. } => who,
        }
    }

    /// Returns the number of members that were present after the change.
    pub fn count(&self) -> usize {
        match self {
            Self::Joined { count, .. } | Self::Left { count, .. } => *count,
        }
    }
}

// Written by hand, because deriving it would make every program with the `openapi` feature compile
// `schemars_derive`. The document describes each event's data on its own.
#[cfg(feature = "openapi")]
impl<K: schemars::JsonSchema> schemars::JsonSchema for PresenceEvent<K> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PresenceEvent".into()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        format!("{}::PresenceEvent<{}>", module_path!(), K::schema_id()).into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let described = |mut schema: schemars::Schema, description: &str| {
            schema.insert("description".to_owned(), description.into());
            schema
        };
        let who = described(generator.subschema_for::<K>(), "The member.");
        let count = generator.subschema_for::<usize>();
        let count = described(count, "The number of members present now.");
        let event = |name: &str, description: &str| {
            schemars::json_schema!({
                "description": description,
                "type": "object",
                "properties": {
                    (name): {
                        "type": "object",
                        "properties": { "who": who, "count": count },
                        "required": ["who", "count"],
                    },
                },
                "additionalProperties": false,
                "required": [name],
            })
        };
        schemars::json_schema!({
            "description": "A change in presence.",
            "oneOf": [
                event("Joined", "A member that was not present has joined."),
                event("Left", "A member left and did not return within the grace time."),
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{event::Event, json},
        topic::{
            Topic,
            engine::{Body, EventTemplate},
        },
    };

    #[cfg(feature = "openapi")]
    #[test]
    fn schema_describes_each_event() {
        let schema = schemars::schema_for!(PresenceEvent<String>);
        for (index, name) in ["Joined", "Left"].into_iter().enumerate() {
            let event = schema.pointer(&format!("/oneOf/{index}/properties/{name}"));
            let event = event.unwrap();
            assert_eq!(event["properties"]["who"]["type"], "string");
            assert_eq!(event["properties"]["who"]["description"], "The member.");
            assert_eq!(event["properties"]["count"]["type"], "integer");
            assert_eq!(event["required"], serde_json::json!(["who", "count"]));
        }
        assert!(<PresenceEvent<String> as SseEvent>::variants().is_cut);
    }

    /// The engine creates the same record as publishing the event would.
    #[test]
    fn templates_equal_published_events() {
        type Change = PresenceEvent<String>;
        let topic: Topic<Change> = Topic::in_memory(1);
        let who = || "a\"d\u{2028}a".to_owned();
        let mut member = Vec::new();
        serde::Serialize::serialize(&who(), &mut json::line::serializer(&mut member)).unwrap();
        let member = String::from_utf8(member).unwrap();
        for (event, template) in [
            (
                Change::Joined {
                    who: who(),
                    count: 12,
                },
                EventTemplate::JOINED,
            ),
            (
                Change::Left {
                    who: who(),
                    count: 12,
                },
                EventTemplate::LEFT,
            ),
        ] {
            let fill = |text: &str| {
                text.replace(EventTemplate::MEMBER, &member)
                    .replace(EventTemplate::COUNT, "12")
            };
            let (frame, value) = (fill(template.frame), fill(template.value));
            let encoded = topic.encode(Event::json(event.clone())).unwrap();
            assert_eq!(frame, encoded.frame);
            assert_eq!(serde_json::from_str::<Change>(&value).unwrap(), event);
            // The parts of a body, as the engine concatenates them.
            let len = u32::try_from(frame.len()).unwrap().to_be_bytes();
            let body = [&[1], &len[..], frame.as_bytes(), value.as_bytes()].concat();
            assert_eq!(body, Body::encode(frame.as_bytes(), value.as_bytes()));
        }
    }
}
