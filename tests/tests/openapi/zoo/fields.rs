//! serde's attributes on fields.

use std::collections::{BTreeMap, HashMap};

use proptest_derive::Arbitrary;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use sse_runtime::SseEvent;

use super::{animals, enums::Pair};

// --- fields that are not always sent ---

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum Missing {
    Some {
        #[serde(skip)]
        skipped: u8,
        #[serde(skip_serializing)]
        unsent: u8,
        #[serde(skip_deserializing)]
        unread: u8,
        #[serde(skip_serializing_if = "Option::is_none")]
        optional: Option<u8>,
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        list: Vec<u8>,
        #[serde(default)]
        defaulted: u8,
    },
    All {
        #[serde(skip)]
        skipped: u8,
    },
}

fn seven() -> u8 {
    7
}

#[derive(Debug, Default, Arbitrary, Serialize, JsonSchema)]
#[serde(default)]
#[allow(dead_code, reason = "some fields are not sent")]
struct Defaults {
    #[serde(skip)]
    skipped: u8,
    #[serde(skip_serializing)]
    unsent: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    optional: Option<Option<u8>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    text: String,
    #[serde(default = "seven")]
    seven: u8,
    #[deprecated]
    old: Option<u8>,
}

// --- flattened fields ---

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
#[serde(tag = "kind")]
enum Kind {
    Circle { radius: u8 },
    Square,
}

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
enum Shape {
    Circle { radius: u8 },
    Line(u8),
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum Flattened {
    Struct {
        own: u8,
        #[serde(flatten)]
        pair: Pair,
    },
    Optional {
        own: u8,
        #[serde(flatten)]
        pair: Option<Pair>,
    },
    Internal {
        own: u8,
        #[serde(flatten)]
        kind: Kind,
    },
    External {
        own: u8,
        #[serde(flatten)]
        shape: Shape,
    },
    Map {
        own: u8,
        #[serde(flatten)]
        map: BTreeMap<String, i8>,
    },
    Only {
        #[serde(flatten)]
        pair: Pair,
    },
}

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
struct Outer {
    #[serde(flatten)]
    middle: Middle,
    #[serde(flatten)]
    kind: Kind,
}

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
struct Middle {
    #[serde(flatten)]
    pair: Pair,
    #[serde(flatten)]
    rest: HashMap<String, Pair>,
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
#[serde(tag = "type")]
enum FlattenedInternal {
    Struct {
        #[serde(flatten)]
        pair: Pair,
    },
    Inside(Outer),
}

// --- custom serializers with a declared schema ---

fn as_hex<S: Serializer>(value: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{value:x}"))
}

mod hex {
    pub(super) use super::as_hex as serialize;
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum Custom {
    With {
        #[serde(with = "hex")]
        #[schemars(with = "String")]
        value: u32,
    },
    SerializeWith(
        #[serde(serialize_with = "as_hex")]
        #[schemars(schema_with = "hex_schema")]
        u32,
    ),
    #[serde(serialize_with = "as_hex")]
    #[schemars(with = "String")]
    Variant(u32),
    Plain(u32),
}

fn hex_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-f]+$" })
}

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
struct CustomStruct {
    #[serde(with = "hex")]
    #[schemars(with = "String")]
    value: u32,
    #[serde(serialize_with = "as_hex", rename = "other-value")]
    #[schemars(schema_with = "hex_schema")]
    other: u32,
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
struct CustomEvent {
    #[serde(serialize_with = "as_hex")]
    #[schemars(with = "String", description = "In hexadecimal.")]
    value: u32,
}

animals! {
    skipped_in_events: sends Missing;
    skipped_in_structs: sends Defaults;
    flattened_in_events: sends Flattened;
    flattened_twice: sends Outer;
    flattened_in_tagged_events: sends FlattenedInternal;
    declared_serializers: sends Custom;
    declared_serializers_in_structs: sends CustomStruct;
    declared_serializer_of_an_event: sends CustomEvent;
}
