//! Errors: problems in every form, and plain values.

use std::time::Duration;

use proptest::prelude::*;
use proptest_derive::Arbitrary;
use schemars::JsonSchema;
use serde::Serialize;
use sse_runtime::{SseError, Text};

use super::{animals, enums::Pair};

#[derive(Debug, Arbitrary, thiserror::Error, SseError)]
#[error("failed")]
enum Problems {
    /// Nothing but a code.
    Bare,
    #[sse(
        status = 404,
        title = "No room",
        detail = "Try another one",
        type = "urn:no-room"
    )]
    NoRoom {
        room: u64,
        name: Option<String>,
    },
    #[sse(status = 499)]
    WithoutReason,
    #[sse(status = 400, code = "custom-code")]
    Renamed {
        #[serde(rename = "roomNumber")]
        room: u64,
        r#type: String,
    },
    Tuple(u8),
    Hidden {
        #[serde(skip)]
        secret: u8,
        unserializable: NotSerialize,
        shown: Pair,
    },
}

#[derive(Debug, Arbitrary)]
struct NotSerialize;

#[derive(Debug, Arbitrary, thiserror::Error, SseError)]
#[error("failed")]
enum Replacing {
    Title {
        title: u8,
    },
    Detail {
        detail: Vec<String>,
    },
    #[sse(detail = "Something")]
    OptionalDetail {
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<u8>,
    },
    OptionalTitle {
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<u8>,
    },
    Code {
        code: u8,
    },
    HiddenTitle {
        title: NotSerialize,
    },
    #[sse(type = "urn:x")]
    Type {
        #[serde(skip_serializing_if = "String::is_empty")]
        r#type: String,
    },
}

#[derive(Debug, Arbitrary, thiserror::Error, SseError)]
#[error("later")]
#[sse(status = 503)]
enum Delays {
    Seconds {
        #[sse(retry_after)]
        after: u32,
    },
    OptionalSeconds {
        #[sse(retry_after)]
        after: Option<u8>,
    },
    Precise {
        #[sse(retry_after)]
        after: Duration,
    },
    OptionalPrecise {
        #[sse(retry_after)]
        #[serde(rename = "retryAfter")]
        after: Option<Duration>,
    },
    Header {
        #[sse(retry_after)]
        #[serde(skip)]
        after: u64,
    },
    Tuple(#[sse(retry_after)] u16),
    Replacing {
        #[sse(retry_after)]
        title: Option<u8>,
    },
    AlwaysReplacing {
        #[sse(retry_after)]
        detail: u8,
    },
    #[sse(detail = "Later")]
    ReplacingDetail {
        #[sse(retry_after)]
        detail: Option<Option<u8>>,
    },
}

#[derive(Debug, Arbitrary, thiserror::Error, SseError)]
#[error("failed")]
enum Outer {
    #[sse(transparent)]
    Problems(#[from] Problems),
    #[sse(transparent)]
    Delays { inner: Delays },
    #[sse(status = 404)]
    NoRoom { other: bool },
}

#[derive(Debug, Arbitrary, thiserror::Error, SseError)]
#[error("failed")]
#[sse(status = 409, code = "conflict")]
struct Conflict {
    #[source]
    cause: Hidden,
    with: Option<Box<str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    list: Vec<Pair>,
}

#[derive(Debug, Arbitrary, thiserror::Error)]
#[error("hidden")]
struct Hidden;

#[derive(Debug, Arbitrary, thiserror::Error, SseError)]
#[error("failed")]
enum Generic<T: std::fmt::Debug + Serialize + JsonSchema> {
    #[sse(status = 422)]
    Invalid {
        value: T,
    },
    Unknown,
}

// --- plain values ---

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
enum Plain {
    Unit,
    Inside(Pair),
}

fn words() -> impl Strategy<Value = Text<String>> {
    any::<String>().prop_map(Text)
}

animals! {
    problems: fails Problems;
    problems_in_the_stream: ends Problems;
    boxed_problems: ends Box<Problems>;
    replaced_members: fails Replacing;
    delays: fails Delays;
    transparent: fails Outer;
    problem_struct: fails Conflict;
    generic_problem: fails Generic<Pair>;
    other_generic_problem: fails Generic<Vec<u8>>;
    plain_enum: ends Plain;
    plain_string: ends String;
    plain_unit: ends ();
    text: ends Text<String>, from: words();
    html: ends axum::response::Html<String>, from: any::<String>().prop_map(axum::response::Html);
}
