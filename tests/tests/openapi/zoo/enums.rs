//! Enums in every representation of serde, as events and as plain items.

use proptest_derive::Arbitrary;
use schemars::JsonSchema;
use serde::Serialize;
use sse_runtime::SseEvent;

use super::{fails, sends};

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
sends!(mixed: Mixed);

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum OnlyStruct {
    Only { value: u8 },
}
sends!(single_struct_variant: OnlyStruct);

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum OnlyNewtype {
    Only(Pair),
}
sends!(single_newtype_variant: OnlyNewtype);

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum OnlyUnit {
    Only,
}
sends!(single_unit_variant: OnlyUnit);

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum AllUnits {
    First,
    /// The second.
    Second,
    Third,
}
sends!(unit_variants: AllUnits);

#[allow(deprecated, reason = "these variants are still sent")]
mod deprecating {
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
    sends!(deprecated_variants: Deprecating, from: proptest::sample::select(sent()));

    fn sent() -> Vec<Deprecating> {
        let older = Deprecating::Older { value: 1 };
        vec![Deprecating::Old, older, Deprecating::Current]
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
sends!(two_unnamed_variants: TwoMessages);

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum NamedMessage {
    #[sse(event = "message", allow(reserved_name))]
    Named(u8),
    #[sse(message)]
    Unnamed(String),
    #[sse(message, text)]
    Text(String),
}
sends!(named_and_unnamed_message: NamedMessage);

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
enum Boxes {
    Boxed(Box<Pair>),
    Shared(std::sync::Arc<Pair>),
    Borrowed(std::borrow::Cow<'static, str>),
    Nested(Mixed),
}
sends!(boxed_contents: Boxes);
sends!(boxed_events: Box<Mixed>);
sends!(shared_events: std::sync::Arc<Mixed>);
sends!(borrowed_events: &'static Mixed, from: proptest::sample::select(&BORROWED));
sends!(lists_of_events: Vec<Mixed>);

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
sends!(generic_events: Generic<Pair>);

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
sends!(internally_tagged_events: Internal);

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
#[serde(tag = "type", content = "value", rename_all = "camelCase")]
enum Adjacent {
    FirstKind { text: String },
    Inside(Pair),
    Bare,
}
sends!(adjacently_tagged_events: Adjacent);

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
#[serde(untagged)]
enum Untagged {
    Text(String),
    Named { text: String },
    Inside(Pair),
    Nothing,
    NothingElse,
}
sends!(untagged_events: Untagged);

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
#[serde(untagged)]
enum OnlyUntagged {
    Only(Pair),
}
sends!(single_untagged_event: OnlyUntagged);

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
sends!(converted_events: Converting);

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
sends!(skipped_variants: Partly);

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
sends!(skipped_tagged_variants: PartlyInternal);

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
sends!(plain_enum: Plain);

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
sends!(plain_internally_tagged: PlainInternal);

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
#[serde(tag = "kind", content = "content")]
enum PlainAdjacent {
    Unit,
    Tuple(u8, String),
    Inside(Option<Pair>),
    Struct { text: String },
}
sends!(plain_adjacently_tagged: PlainAdjacent);

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
#[serde(untagged)]
enum PlainUntagged {
    Unit,
    Tuple(u8, String),
    Inside(Pair),
    Many(Vec<PlainInternal>),
}
sends!(plain_untagged: PlainUntagged);

// --- names that the framework also uses ---

#[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
#[sse(allow(reserved_name))]
enum Reserved {
    Done,
    Close { code: u8 },
    Gap(Vec<u8>),
    Error { fatal: bool },
}
sends!(reserved_names: Reserved);

/// Errors that are events keep their names.
mod as_errors {
    use super::*;
    use crate::zoo::ends;

    ends!(named_errors: Mixed);
    ends!(unnamed_errors: TwoMessages);
    ends!(reserved_errors: Reserved);
    ends!(boxed_errors: Box<Mixed>);
}

mod as_failures {
    use super::*;

    #[derive(Debug, Arbitrary, SseEvent, JsonSchema)]
    enum Failing {
        Failed { code: u8 },
    }

    impl axum::response::IntoResponse for Failing {
        fn into_response(self) -> axum::response::Response {
            axum::http::StatusCode::IM_A_TEAPOT.into_response()
        }
    }
    fails!(events_that_are_responses: Failing);
}
