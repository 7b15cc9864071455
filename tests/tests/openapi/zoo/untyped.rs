//! Types whose schema is unknown. [`Api::untyped`](sse_runtime::openapi::Api::untyped) names them.

use proptest_derive::Arbitrary;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use sse_runtime::{SseError, SseEvent};

use super::animals;

#[derive(Debug, Arbitrary, Serialize)]
struct Plain {
    value: u8,
}

#[derive(Debug, Arbitrary, SseEvent)]
enum Events {
    Named {
        value: u8,
    },
    Inside(Plain),
    #[sse(text)]
    Text(String),
    Bare,
}

#[derive(Debug, Arbitrary, SseEvent)]
#[serde(tag = "type")]
enum Tagged {
    Bare,
    #[sse(message)]
    Named {
        value: u8,
    },
}

// --- custom serializers ---

fn as_hex<S: Serializer>(value: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{value:x}"))
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum Custom {
    Field {
        #[serde(serialize_with = "as_hex")]
        value: u32,
    },
    Described {
        #[serde(serialize_with = "as_hex")]
        #[schemars(description = "In hexadecimal.")]
        value: u32,
    },
    #[serde(serialize_with = "as_hex")]
    Variant(u32),
    Plain(u32),
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
struct CustomStruct {
    #[serde(serialize_with = "as_hex")]
    value: u32,
}

/// schemars ignores that the content of the variant is not serialized.
#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
#[serde(tag = "type", content = "content")]
enum Skipping {
    Skipped(#[serde(skip)] u64),
    Sent(u64),
}

// --- events whose names are not known from the type ---

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum Known {
    Named {
        value: u8,
    },
    #[sse(text)]
    Text(String),
    Bare,
}

// --- errors ---

#[derive(Debug, Arbitrary, thiserror::Error, SseError)]
#[error("failed")]
enum Problem {
    #[sse(status = 404)]
    Missing { plain: Plain },
    Other {
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<Plain>,
    },
}

animals! {
    plain_struct: sends Plain, untyped: ["the item `openapi::zoo::untyped::Plain`"];
    list: sends Vec<Plain>, untyped: ["the item `alloc::vec::Vec<openapi::zoo::untyped::Plain>`"];
    events: sends Events, untyped: ["the event `inside` of `openapi::zoo::untyped::Events`", "the event `named` of `openapi::zoo::untyped::Events`"];
    tagged: sends Tagged, untyped: ["the event `bare` of `openapi::zoo::untyped::Tagged`", "the event `message` of `openapi::zoo::untyped::Tagged`"];
    custom_serializers: sends Custom, untyped: ["the event `described` of `openapi::zoo::untyped::Custom`", "the event `field` of `openapi::zoo::untyped::Custom`", "the event `variant` of `openapi::zoo::untyped::Custom`"];
    custom_serializer_of_a_struct: sends CustomStruct, untyped: ["the event `custom_struct` of `openapi::zoo::untyped::CustomStruct`"];
    skipped_content: sends Skipping, untyped: ["the event `skipped` of `openapi::zoo::untyped::Skipping`"];
    optional_events: sends Option<Known>, untyped: ["the item `core::option::Option<openapi::zoo::untyped::Known>`"];
    members: fails Problem, untyped: ["the member `plain` of `Problem.missing`", "the member `title` of `Problem.other`"];
    plain_error: ends Plain, untyped: ["the error `openapi::zoo::untyped::Plain`"];
}
