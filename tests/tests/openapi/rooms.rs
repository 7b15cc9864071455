//! Endpoints that use every kind of argument, event and error.

use axum::{
    Form, Json,
    body::Bytes,
    extract::{Path, Query},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sse_runtime::{
    LastEventId, SseError, SseEvent, Stream, Text, Topic, openapi::Api, sse_endpoint,
};

/// A call of a tool.
#[derive(Serialize, JsonSchema)]
struct Call {
    /// The name of the tool.
    name: String,
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[derive(SseEvent, JsonSchema)]
enum ChatEvent {
    /// A piece of the answer.
    Token {
        /// Markdown. It can contain "quotes", `|` and */.
        ///
        /// It can end within a word.
        text: String,
        #[sse(id)]
        #[serde(skip)]
        at: u64,
    },
    #[sse(event = "tool-call")]
    ToolCall(Call),
    #[sse(text)]
    Html(String),
    #[deprecated]
    Old(Option<u8>),
    Finished,
}

#[derive(Debug, thiserror::Error, SseError)]
enum AskError {
    /// The room does not exist.
    #[error("no room")]
    #[sse(status = 404)]
    NoRoom { room: u64 },
    #[error("busy")]
    #[sse(status = 429, title = "Slow down")]
    Busy {
        #[sse(retry_after)]
        after: u64,
    },
}

#[derive(Deserialize, JsonSchema)]
#[allow(dead_code, reason = "only the schema is used")]
struct Filter {
    /// The smallest price.
    min: Option<f64>,
    symbol: String,
}

#[derive(Deserialize, JsonSchema)]
#[allow(dead_code, reason = "only the schema is used")]
struct Prompt {
    text: String,
    call: Option<PromptCall>,
}
#[derive(Deserialize, JsonSchema)]
#[allow(dead_code, reason = "only the schema is used")]
#[schemars(rename = "Call")]
struct PromptCall {
    id: u8,
}

/// The answer of a room's model.
///
/// It ends with `finished`.
#[sse_endpoint("/rooms/{room}/answer", retry = "3s", end = "stop")]
async fn answer(
    Path(room): Path<u64>,
    last: LastEventId<u64>,
) -> Result<impl Stream<Item = Result<ChatEvent, AskError>>, AskError> {
    if room == 0 {
        return Err(AskError::NoRoom { room });
    }
    if room == 1 {
        return Err(AskError::Busy { after: 3 });
    }
    drop(last);
    yield_!(ChatEvent::Token {
        text: "a".into(),
        at: 1
    });
    yield_!(ChatEvent::ToolCall(Call {
        name: "x".into(),
        count: 1,
        hint: None
    }));
    yield_!(ChatEvent::Html("<p>".into()));
    #[allow(deprecated)]
    {
        yield_!(ChatEvent::Old(None));
    }
    yield_!(ChatEvent::Finished);
}

#[sse_endpoint("/ask", method = POST)]
async fn ask(
    Query(_filter): Query<Filter>,
    Json(_prompt): Json<Prompt>,
) -> impl Stream<Item = Call> {
    yield_!(Call {
        name: "x".into(),
        count: 1,
        hint: None
    });
}

#[derive(Clone, Serialize, JsonSchema)]
struct Price {
    value: f64,
}

#[sse_endpoint("/files/{name}/{*rest}")]
async fn files(
    Path((_name, _rest)): Path<(String, String)>,
    last: LastEventId,
) -> impl Stream<Item = Price> {
    let topic = Topic::<Price>::in_memory(10);
    yield_all!(topic.subscribe(last));
}

#[sse_endpoint("/log", method = POST)]
async fn log(Form(_prompt): Form<Filter>) -> impl Stream<Item = Text<String>> {
    yield_!(Text("a".to_owned()));
}

#[derive(Deserialize, JsonSchema)]
#[allow(dead_code, reason = "only the schema is used")]
struct SharedNames {
    id: Option<String>,
    body: String,
}

/// The path, the query and the body of a request share names.
#[sse_endpoint("/shared/{id}/{body}", method = PUT)]
async fn shared_names(
    Path((_id, _body)): Path<(u64, String)>,
    Query(_query): Query<SharedNames>,
    Json(_prompt): Json<Prompt>,
) -> impl Stream<Item = Price> {
    yield_!(Price { value: 1.0 });
}

#[sse_endpoint("/upload", method = POST)]
async fn upload(_file: Bytes) -> impl Stream<Item = Price> {
    yield_!(Price { value: 1.0 });
}

pub(crate) fn api() -> Api {
    let api = Api::new("Rooms", "1.0.0");
    drop(api.of(answer));
    drop(api.at("/v1").of(ask));
    drop(api.of(files));
    drop(api.of(log));
    drop(api.of(shared_names));
    drop(api.of(upload));
    api
}
