//! Errors: problems in every form, and plain values.

use std::time::Duration;

use proptest::prelude::*;
use proptest_derive::Arbitrary;
use schemars::JsonSchema;
use serde::Serialize;
use sse_runtime::{SseError, Text};

use super::{ends, enums::Pair, fails};

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

fails!(problems: Problems);
ends!(problems_in_the_stream: Problems);
ends!(boxed_problems: Box<Problems>);

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
fails!(replaced_members: Replacing);

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
fails!(delays: Delays);

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
fails!(transparent: Outer);

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
fails!(problem_struct: Conflict);

#[derive(Debug, Arbitrary, thiserror::Error, SseError)]
#[error("failed")]
enum Generic<T: std::fmt::Debug + Serialize + JsonSchema> {
    #[sse(status = 422)]
    Invalid {
        value: T,
    },
    Unknown,
}
fails!(generic_problem: Generic<Pair>);
fails!(other_generic_problem: Generic<Vec<u8>>);

// --- plain values ---

#[derive(Debug, Arbitrary, Serialize, JsonSchema)]
enum Plain {
    Unit,
    Inside(Pair),
}
ends!(plain_enum: Plain);
ends!(plain_string: String);
ends!(plain_unit: ());

fn words() -> impl Strategy<Value = Text<String>> {
    any::<String>().prop_map(Text)
}
ends!(text: Text<String>, from: words());
ends!(html: axum::response::Html<String>, from: any::<String>().prop_map(axum::response::Html));
