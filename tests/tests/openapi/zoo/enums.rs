//! Enums in every representation of serde, as events and as plain items.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use proptest_derive::Arbitrary;
use schemars::JsonSchema;
use serde::Serialize;
use sse_runtime::SseEvent;

use super::animals;

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
pub(super) struct Pair {
    pub(super) left: u8,
    pub(super) right: Option<String>,
}

// --- variants as events ---

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum Mixed {
    /// A struct variant.
    Named {
        text: String,
        count: u64,
    },
    /// A newtype variant.
    Inside(Pair),
    /// A newtype variant of a list.
    List(Vec<Pair>),
    Null(()),
    Optional(Option<Pair>),
    /// A unit variant with a doc comment.
    Described,
    Bare,
    AlsoBare,
    #[sse(text)]
    Text(String),
    #[sse(message)]
    Unnamed {
        anonymous: bool,
    },
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum OnlyStruct {
    Only { value: u8 },
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum OnlyNewtype {
    Only(Pair),
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum OnlyUnit {
    Only,
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum AllUnits {
    First,
    /// The second.
    Second,
    Third,
}

#[allow(deprecated, reason = "these variants are still sent")]
pub(super) mod deprecating {
    use super::*;

    #[derive(Debug, Clone, SseEvent, JsonSchema)]
    enum Deprecating {
        #[deprecated]
        Old,
        #[deprecated]
        Older {
            value: u8,
        },
        Current,
    }

    fn sent() -> Vec<Deprecating> {
        let older = Deprecating::Older { value: 1 };
        vec![Deprecating::Old, older, Deprecating::Current]
    }

    animals! {
        deprecated_variants: sends Deprecating, from: proptest::sample::select(sent());
    }
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum TwoMessages {
    #[sse(message)]
    Text { text: String },
    #[sse(message)]
    Count { count: u32 },
    #[sse(message)]
    Nothing,
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum NamedMessage {
    #[sse(event = "message", allow(reserved_name))]
    Named(u8),
    #[sse(message)]
    Unnamed(String),
    #[sse(message, text)]
    Text(String),
}

/// A variant whose only content is its id, which is not part of the data.
#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum OnlyId {
    Cursor(
        #[sse(id)]
        #[serde(skip)]
        u64,
    ),
    Value(u64),
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum Boxes {
    Boxed(Box<Pair>),
    Shared(std::sync::Arc<Pair>),
    Borrowed(std::borrow::Cow<'static, str>),
    Nested(Mixed),
}

static BORROWED: [&Mixed; 3] = [
    &Mixed::Bare,
    &Mixed::Null(()),
    &Mixed::Unnamed { anonymous: true },
];

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum Generic<T> {
    One(T),
    Many { values: Vec<T> },
}

// --- other representations of events ---

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
#[serde(tag = "type")]
enum Internal {
    Named {
        text: String,
    },
    Inside(Pair),
    Bare,
    /// Another one.
    AlsoBare,
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
#[serde(tag = "type", content = "value", rename_all = "camelCase")]
enum Adjacent {
    FirstKind { text: String },
    Inside(Pair),
    Bare,
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
#[serde(untagged)]
enum Untagged {
    Text(String),
    Named { text: String },
    Inside(Pair),
    Nothing,
    NothingElse,
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
#[serde(untagged)]
enum OnlyUntagged {
    Only(Pair),
}

#[derive(Debug, Clone, Arbitrary, SseEvent, JsonSchema)]
#[serde(into = "Converted")]
enum Converting {
    High { level: u8 },
    Low,
}

#[derive(Serialize, JsonSchema)]
struct Converted {
    level: u8,
}

impl From<Converting> for Converted {
    fn from(from: Converting) -> Self {
        match from {
            Converting::High { level } => Self { level },
            Converting::Low => Self { level: 0 },
        }
    }
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum Partly {
    Sent(u8),
    #[serde(skip_deserializing)]
    OnlySent {
        value: u8,
    },
    #[proptest(skip)]
    #[serde(skip_serializing)]
    #[allow(dead_code, reason = "only the schema is used")]
    NeverSent(String),
    #[proptest(skip)]
    #[serde(skip)]
    #[allow(dead_code, reason = "only the schema is used")]
    Skipped,
    Last,
}

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
#[serde(tag = "type")]
enum PartlyInternal {
    Sent {
        value: u8,
    },
    #[proptest(skip)]
    #[serde(skip_serializing)]
    #[allow(dead_code, reason = "only the schema is used")]
    NeverSent {
        other: String,
    },
    Last,
}

// --- plain items ---

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
enum Plain {
    Unit,
    /// A unit variant with a doc comment.
    Described,
    Newtype(Pair),
    Tuple(u8, String),
    Struct {
        text: String,
    },
}

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
#[serde(
    tag = "kind",
    rename_all = "SCREAMING-KEBAB-CASE",
    rename_all_fields = "camelCase"
)]
enum PlainInternal {
    FirstUnit,
    SecondInside(Pair),
    ThirdStruct { long_name: u8 },
}

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
#[serde(tag = "kind", content = "content")]
enum PlainAdjacent {
    Unit,
    Tuple(u8, String),
    Inside(Option<Pair>),
    Struct { text: String },
}

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
#[serde(untagged)]
enum PlainUntagged {
    Unit,
    Tuple(u8, String),
    Inside(Pair),
    Many(Vec<PlainInternal>),
}

// --- names that the framework also uses ---

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
#[sse(allow(reserved_name))]
enum Reserved {
    Done,
    Close { code: u8 },
    Gap(Vec<u8>),
    Error { fatal: bool },
}

// --- errors that are events, which keep their names ---

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum Failing {
    Failed { code: u8 },
}

impl IntoResponse for Failing {
    fn into_response(self) -> Response {
        StatusCode::IM_A_TEAPOT.into_response()
    }
}

animals! {
    mixed: sends Mixed;
    single_struct_variant: sends OnlyStruct;
    single_newtype_variant: sends OnlyNewtype;
    single_unit_variant: sends OnlyUnit;
    unit_variants: sends AllUnits;
    two_unnamed_variants: sends TwoMessages;
    named_and_unnamed_message: sends NamedMessage;
    variant_without_its_content: sends OnlyId;
    boxed_contents: sends Boxes;
    boxed_events: sends Box<Mixed>;
    shared_events: sends std::sync::Arc<Mixed>;
    borrowed_events: sends &'static Mixed, from: proptest::sample::select(&BORROWED);
    lists_of_events: sends Vec<Mixed>;
    generic_events: sends Generic<Pair>;
    internally_tagged_events: sends Internal;
    adjacently_tagged_events: sends Adjacent;
    untagged_events: sends Untagged;
    single_untagged_event: sends OnlyUntagged;
    converted_events: sends Converting;
    skipped_variants: sends Partly;
    skipped_tagged_variants: sends PartlyInternal;
    plain_enum: sends Plain;
    plain_internally_tagged: sends PlainInternal;
    plain_adjacently_tagged: sends PlainAdjacent;
    plain_untagged: sends PlainUntagged;
    reserved_names: sends Reserved;
    named_errors: ends Mixed;
    unnamed_errors: ends TwoMessages;
    reserved_errors: ends Reserved;
    boxed_errors: ends Box<Mixed>;
    events_that_are_responses: fails Failing;
}
