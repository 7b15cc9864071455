//! Describes the events of a stream.

use serde_json::{Value, json};

use super::{Data, Event, Name, failures::is_never, reader::Reader};
use crate::event::{
    contract::{Content, Contract, Payload, Variant, Variants},
    sse_event::NamedData,
};

impl Reader<'_> {
    pub(super) fn events(&mut self, item: &Payload) -> Vec<Event> {
        if let Some(variants) = item.events {
            return self.variants(item, variants());
        }
        if is_never(item) {
            return Vec::new();
        }
        let data = if item.is_text {
            Data::Text
        } else if item.is_optional_event {
            // A value that is an event may have a name, and text or nothing as its data.
            self.untyped(format_args!("the item `{}`", (item.name)()));
            Data::Text
        } else if let Some(schema) = item.schema {
            Data::Json(self.schemas.sent(schema))
        } else {
            self.untyped(format_args!("the item `{}`", (item.name)()));
            Data::Json(json!({}))
        };
        vec![Event {
            name: Name::Open,
            data,
            description: None,
            is_deprecated: false,
        }]
    }

    /// Describes the events that the function yields without an item, or under another name than
    /// that of the item.
    pub(super) fn other_events(
        &mut self,
        contract: &Contract,
        has_framework_events: bool,
    ) -> Vec<Event> {
        let contents = contract.contents;
        let event = |name, data| Event {
            name,
            data,
            description: None,
            is_deprecated: false,
        };
        let mut events = Vec::new();
        let sets_names = contract.item.events.is_some() && contents.contains(&Content::Names);
        if sets_names {
            self.untyped("the events whose names are set with `Event::event`");
        }
        if contents.contains(&Content::Relays) {
            self.untyped("the relayed events");
        }
        if sets_names || contents.contains(&Content::Relays) {
            events.push(event(Name::Open, Data::Text));
        } else if contents.contains(&Content::Text) {
            let name = match contract.item.events {
                Some(_) => Name::Message,
                None => Name::Open,
            };
            events.push(event(name, Data::Text));
        }
        if contents.contains(&Content::Done) && !has_framework_events {
            let null = json!({ "type": "null" });
            events.push(Event {
                description: Some(json!("The stream has ended.")),
                ..event(Name::Known("done"), Data::Json(null))
            });
        }
        events
    }

    fn variants(&mut self, item: &Payload, described: Variants) -> Vec<Event> {
        let Variants { is_cut, variants } = described;
        // Only a struct, or an enum that is serialized as another type, has one schema for all its
        // events. The schemas of other enums must not be named, because they describe the data of
        // no event.
        let whole = item.schema.filter(|_| !is_cut).map(|schema| {
            let inline = self.schemas.sent_inline(schema);
            (self.schemas.sent(schema), inline)
        });
        let inline = item.schema.filter(|_| is_cut);
        let inline = inline.map(|schema| self.schemas.sent_inline(schema));
        let branches = inline.as_ref().and_then(branches);
        // Without tags, the variants and their schemas are in the same order.
        let by_order = branches.filter(|branches| branches.len() == variants.len());
        let events = variants.iter().enumerate().map(|(at, variant)| {
            let found = match (&whole, variant.tag) {
                (Some((reference, inline)), _) => Some((reference.clone(), inline)),
                (None, Some(tag)) => branches.and_then(|branches| tagged(branches, tag)),
                (None, None) => by_order.map(|branches| (branches[at].clone(), &branches[at])),
            };
            self.event(item, variant, found)
        });
        events.collect()
    }

    /// Describes the events of an error that implements `SseEvent`.
    pub(super) fn error_events(
        &mut self,
        error: &Payload,
        error_event: &'static str,
    ) -> Vec<Event> {
        let mut events = self.events(error);
        for event in &mut events {
            if event.name == Name::Message {
                event.name = Name::Known(error_event);
            }
        }
        events
    }

    /// Describes a variant. `found` contains the schema of its content and the schema that contains
    /// its doc comment.
    fn event(
        &mut self,
        item: &Payload,
        variant: &Variant,
        found: Option<(Value, &Value)>,
    ) -> Event {
        let (content, outer) = found.unzip();
        let data = match (variant.data, content) {
            (NamedData::Text, _) => Data::Text,
            (NamedData::Empty, _) => Data::Empty,
            (NamedData::Json, Some(content)) if variant.is_exact => Data::Json(content),
            (NamedData::Json, _) => {
                let event = variant.event.unwrap_or("message");
                self.untyped(format_args!("the event `{event}` of `{}`", (item.name)()));
                Data::Json(json!({}))
            }
        };
        let member = |name: &str| outer.and_then(|outer| outer.get(name));
        Event {
            name: variant.event.map_or(Name::Message, Name::Known),
            data,
            description: member("description").cloned(),
            is_deprecated: member("deprecated").is_some_and(|value| *value == true),
        }
    }
}

/// Returns the schemas of an enum's variants.
fn branches(schema: &Value) -> Option<&Vec<Value>> {
    let branches = schema.get("oneOf").or_else(|| schema.get("anyOf"));
    branches.and_then(Value::as_array)
}

/// Returns the schema of a variant's content, and the schema that contains it. serde represents a
/// variant that has content as an object with one member, whose name is the tag.
fn tagged<'a>(branches: &'a [Value], tag: &str) -> Option<(Value, &'a Value)> {
    branches.iter().find_map(|branch| {
        if branch.get("const").is_some_and(|name| name == tag) {
            return Some((json!({}), branch));
        }
        let properties = branch.get("properties")?.as_object()?;
        let content = properties.get(tag).filter(|_| properties.len() == 1)?;
        Some((content.clone(), branch))
    })
}
