//! `#[derive(SseEvent, JsonSchema)]`: the bytes on the wire, the JSON that a REST handler returns, and
//! decoding.

/// Returns the bytes of a stream with a single item. Each use of the macro defines an endpoint for
/// the given item type.
macro_rules! wire {
    ($item:ty: $value:expr) => {{
        #[sse_endpoint("/item")]
        async fn item() -> impl Stream<Item = $item> {
            yield_!($value);
        }
        Client::new(Router::new().sse(item))
            .get("/item")
            .await
            .text()
            .await
    }};
}

mod decode;
mod inner;
mod json;
mod wire;

use std::sync::Arc;

use axum::{Router, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sse_runtime::{EventId, SseEvent, Stream, sse_endpoint, testing::Client};
use support::SseRouterExt as _;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Call {
    tool: String,
    arguments: Value,
}

/// An enum that has every kind of variant and uses every serde attribute that affects a field.
#[derive(Clone, Debug, PartialEq, SseEvent, Deserialize, JsonSchema)]
enum Chat {
    Token {
        text: String,
    },
    #[sse(event = "tool-call")]
    ToolCall(Call),
    #[sse(text)]
    Html(String),
    #[sse(message)]
    Plain(Vec<i64>),
    Numbered {
        #[sse(id)]
        seq: u64,
        #[serde(rename = "T")]
        text: Option<String>,
    },
    Keyed {
        #[sse(id)]
        #[serde(skip)]
        key: Option<EventId>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tags: Vec<String>,
        #[serde(with = "as_text")]
        #[schemars(with = "String")]
        price: i64,
        #[serde(flatten)]
        call: Call,
    },
    #[serde(rename = "nested!")]
    Nested(Box<Self>),
    Empty {},
    Finished,
}

/// Serializes a number as text.
mod as_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    #[allow(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde requires this signature"
    )]
    pub(crate) fn serialize<S: Serializer>(number: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[sse_endpoint("/chat", flush = "ready")]
async fn chat(State(script): State<Arc<Vec<Chat>>>) -> impl Stream<Item = Chat> {
    for event in script.iter() {
        yield_!(event);
    }
}

fn client(script: Vec<Chat>) -> Client {
    Client::new(Router::new().sse(chat).with_state(Arc::new(script)))
}

fn call() -> Call {
    Call {
        tool: "search".to_owned(),
        arguments: json!({"q": [1]}),
    }
}

fn token(text: &str) -> Chat {
    Chat::Token {
        text: text.to_owned(),
    }
}
