//! AG-UI.

use axum::{Json, Router, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use sse_runtime::{SseRouterExt as _, Stream, sse_endpoint};
use tokio_stream::StreamExt as _;

use super::model::{Model, ModelError};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RunInput {
    thread_id: String,
    run_id: String,
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    content: String,
}

#[derive(Serialize)]
#[serde(
    tag = "type",
    rename_all = "SCREAMING_SNAKE_CASE",
    rename_all_fields = "camelCase"
)]
enum AgentEvent {
    RunStarted {
        thread_id: String,
        run_id: String,
    },
    TextMessageStart {
        message_id: String,
        role: &'static str,
    },
    TextMessageContent {
        message_id: String,
        delta: String,
    },
    TextMessageEnd {
        message_id: String,
    },
    RunFinished {
        thread_id: String,
        run_id: String,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "RUN_ERROR")]
struct RunError {
    message: String,
}

impl From<ModelError> for RunError {
    fn from(error: ModelError) -> Self {
        let message = error.to_string();
        Self { message }
    }
}

/// Runs the agent.
#[sse_endpoint("/agent", method = POST)]
async fn run(
    State(model): State<Model>,
    Json(mut input): Json<RunInput>,
) -> Result<impl Stream<Item = Result<AgentEvent, RunError>>, StatusCode> {
    let question = input.messages.pop().ok_or(StatusCode::BAD_REQUEST)?;
    let mut answer = model.answer(question.content);
    let message_id = format!("{}-answer", input.run_id);

    yield_!(AgentEvent::RunStarted {
        thread_id: input.thread_id.clone(),
        run_id: input.run_id.clone(),
    });
    yield_!(AgentEvent::TextMessageStart {
        message_id: message_id.clone(),
        role: "assistant",
    });
    while let Some(delta) = answer.try_next().await? {
        yield_!(AgentEvent::TextMessageContent {
            message_id: message_id.clone(),
            delta,
        });
    }
    yield_!(AgentEvent::TextMessageEnd { message_id });
    yield_!(AgentEvent::RunFinished {
        thread_id: input.thread_id,
        run_id: input.run_id,
    });
}

pub(crate) fn app(model: Model) -> Router {
    Router::new().sse(run).with_state(model)
}
