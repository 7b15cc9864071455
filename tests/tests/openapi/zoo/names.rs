//! Names of events and members that serde, `#[sse(…)]` or Rust's syntax change.

use proptest_derive::Arbitrary;
use schemars::JsonSchema;
use serde::Serialize;
use sse_runtime::SseEvent;

use super::{animals, enums::Pair, sends};

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[sse(rename_all = "SCREAMING-KEBAB-CASE")]
enum Cases {
    FirstOne {
        value: u8,
    },
    #[serde(rename = "2nd")]
    SecondOne(Pair),
    #[serde(rename(serialize = "third", deserialize = "3rd"))]
    #[sse(event = "the third")]
    ThirdOne {
        value: u8,
    },
    #[serde(rename(deserialize = "4th"))]
    FourthOne {
        value: u8,
    },
    /// The last.
    LastVariant,
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
#[serde(rename_all(serialize = "UPPERCASE", deserialize = "lowercase"))]
enum SidesOfCases {
    FirstOne { value: u8 },
    SecondOne(Pair),
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
#[serde(rename_all_fields = "kebab-case")]
enum Fields {
    FirstOne {
        long_name: u8,
        #[serde(rename = "x y/z~")]
        other_name: u8,
    },
    #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
    SecondOne { long_name: u8 },
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
#[allow(non_camel_case_types, reason = "keywords are lowercase")]
enum Raw {
    r#match {
        r#type: u8,
        r#fn: String,
    },
    #[sse(event = "type")]
    r#Type(Pair),
    r#loop,
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum Unicode {
    #[sse(event = "café")]
    Accent {
        größe: u8,
    },
    #[sse(event = "cafè")]
    OtherAccent {
        größe: String,
    },
    #[sse(event = "☃/~ %25")]
    Snowman(Pair),
    Ümlaut,
}

/// Types whose names collide in the document.
pub(super) mod colliding {
    use super::*;

    mod other {
        use super::*;

        #[derive(Debug, Arbitrary, Serialize, JsonSchema)]
        pub(super) struct Pair {
            third: bool,
        }
    }

    #[derive(Debug, Arbitrary, Serialize, JsonSchema)]
    #[schemars(rename = "values.first")]
    struct First {
        dotted: u8,
    }

    #[derive(Debug, Arbitrary, Serialize, JsonSchema)]
    #[schemars(rename = "Größe/a~b c")]
    struct Escaped {
        #[proptest(value = "None")]
        inner: Option<Box<Escaped>>,
        pair: Option<Pair>,
    }

    #[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
    enum Colliding {
        First(First),
        One(Pair),
        Other(other::Pair),
        Escaped(Escaped),
    }

    animals! {
        colliding_names: sends Colliding;
    }
}

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
#[serde(rename_all(serialize = "camelCase"))]
struct Renamed {
    long_name: u8,
    #[serde(rename(serialize = "const"))]
    constant: u8,
    #[serde(rename = "enum", alias = "other")]
    list: Vec<Pair>,
    #[serde(rename = "properties")]
    members: Pair,
    r#type: Option<bool>,
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
#[sse(event = "single")]
#[serde(rename_all = "PascalCase")]
struct Single {
    #[sse(id)]
    the_id: u64,
    #[serde(rename = "default")]
    the_default: Pair,
}

animals! {
    renamed_variants: sends Cases;
    renamed_for_serializing: sends SidesOfCases;
    renamed_fields: sends Fields;
    raw_identifiers: sends Raw;
    unicode_names: sends Unicode;
    renamed_members: sends Renamed;
    renamed_struct: sends Single;
}

/// A member whose name many tools take for a reference, so its type is not part of the whole zoo.
#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
struct Reference {
    #[serde(rename = "$ref")]
    reference: String,
    #[serde(rename = "$defs")]
    definitions: Pair,
}

sends!(member_called_ref: Reference);
