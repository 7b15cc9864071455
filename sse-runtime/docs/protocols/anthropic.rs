//! Anthropic's Messages.

use axum::{Json, Router, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use sse_runtime::{Connection, SseEvent, SseRouterExt as _, Stream, sse_endpoint};
use tokio_stream::StreamExt as _;

use super::model::{Model, ModelError};

#[derive(Deserialize)]
struct Request {
    model: String,
    messages: Vec<Question>,
}

#[derive(Deserialize)]
struct Question {
    content: String,
}

#[derive(SseEvent)]
#[serde(tag = "type", rename_all = "snake_case")]
enum MessageEvent {
    MessageStart { message: Message },
    ContentBlockStart { index: u32, content_block: Block },
    ContentBlockDelta { index: u32, delta: BlockDelta },
    ContentBlockStop { index: u32 },
    MessageDelta { delta: Stopped, usage: Usage },
    MessageStop,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "message")]
struct Message {
    id: String,
    role: &'static str,
    model: String,
    content: Vec<Block>,
    #[serde(flatten)]
    stopped: Stopped,
    usage: Usage,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text { text: String },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum BlockDelta {
    TextDelta { text: String },
}

#[derive(Default, Serialize)]
struct Stopped {
    stop_reason: Option<&'static str>,
    stop_sequence: Option<String>,
}

#[derive(Default, Serialize)]
struct Usage {
    input_tokens: u64,
    output_tokens: u64,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "error")]
struct Failure {
    error: ApiError,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ApiError {
    OverloadedError { message: String },
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        let message = error.to_string();
        Self {
            error: ApiError::OverloadedError { message },
        }
    }
}

/// Answers the last message of a conversation.
#[sse_endpoint(
    "/v1/messages",
    method = POST,
    events = "all",
    keep_alive = "5s",
    keep_alive_event = "ping"
)]
async fn messages(
    State(model): State<Model>,
    connection: Connection,
    Json(mut request): Json<Request>,
) -> Result<impl Stream<Item = Result<MessageEvent, Failure>>, StatusCode> {
    let question = request.messages.pop().ok_or(StatusCode::BAD_REQUEST)?;
    let mut answer = model.answer(question.content);

    yield_!(MessageEvent::MessageStart {
        message: Message {
            id: format!("msg_{}", connection.id()),
            role: "assistant",
            model: request.model,
            content: Vec::new(),
            stopped: Stopped::default(),
            usage: Usage::default(),
        },
    });
    yield_!(MessageEvent::ContentBlockStart {
        index: 0,
        content_block: Block::Text {
            text: String::new()
        },
    });
    let mut usage = Usage::default();
    while let Some(text) = answer.try_next().await? {
        usage.output_tokens += 1;
        yield_!(MessageEvent::ContentBlockDelta {
            index: 0,
            delta: BlockDelta::TextDelta { text },
        });
    }
    yield_!(MessageEvent::ContentBlockStop { index: 0 });
    yield_!(MessageEvent::MessageDelta {
        delta: Stopped {
            stop_reason: Some("end_turn"),
            stop_sequence: None,
        },
        usage,
    });
    yield_!(MessageEvent::MessageStop);
}

pub(crate) fn app(model: Model) -> Router {
    Router::new().sse(messages).with_state(model)
}
