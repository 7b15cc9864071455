//! OpenAI's chat completions.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::{Json, Router, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use sse_runtime::{Connection, Event, SseRouterExt as _, Stream, sse_endpoint};
use tokio_stream::StreamExt as _;

use super::model::{Model, ModelError};

#[derive(Deserialize)]
struct Request {
    model: String,
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    content: String,
}

#[derive(Serialize)]
struct Chunk {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    choices: [Choice; 1],
}

#[derive(Serialize)]
struct Choice {
    index: u32,
    delta: Delta,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Delta {
    Role(&'static str),
    Content(String),
    #[serde(untagged)]
    Empty {},
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Failure {
    Error {
        message: String,
        r#type: &'static str,
        param: Option<String>,
        code: Option<String>,
    },
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        Self::Error {
            message: error.to_string(),
            r#type: "server_error",
            param: None,
            code: None,
        }
    }
}

/// Answers the last message of a conversation.
#[sse_endpoint("/v1/chat/completions", method = POST)]
async fn chat_completions(
    State(model): State<Model>,
    connection: Connection,
    Json(mut request): Json<Request>,
) -> Result<impl Stream<Item = Result<Chunk, Failure>>, StatusCode> {
    let question = request.messages.pop().ok_or(StatusCode::BAD_REQUEST)?;
    let created = SystemTime::now().duration_since(UNIX_EPOCH);
    let created = created.map_or(0, |since| since.as_secs());
    let chunk = |delta, finish_reason| Chunk {
        id: format!("chatcmpl-{}", connection.id()),
        object: "chat.completion.chunk",
        created,
        model: request.model.clone(),
        choices: [Choice {
            index: 0,
            delta,
            finish_reason,
        }],
    };
    let mut answer = model.answer(question.content);

    yield_!(chunk(Delta::Role("assistant"), None));
    while let Some(piece) = answer.try_next().await? {
        yield_!(chunk(Delta::Content(piece), None));
    }
    yield_!(chunk(Delta::Empty {}, Some("stop")));
    yield_!(Event::text("[DONE]"));
}

pub(crate) fn app(model: Model) -> Router {
    Router::new().sse(chat_completions).with_state(model)
}
