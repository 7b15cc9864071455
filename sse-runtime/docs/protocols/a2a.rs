//! `Agent2Agent` over JSON-RPC.

use axum::{Json, Router, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sse_runtime::{Connection, SseRouterExt as _, Stream, sse_endpoint};
use tokio_stream::StreamExt as _;

use super::model::{Model, ModelError};

#[derive(Deserialize)]
struct Request {
    id: Value,
    method: String,
    #[serde(default)]
    params: Params,
}

#[derive(Default, Deserialize)]
struct Params {
    #[serde(default)]
    message: Question,
}

#[derive(Default, Deserialize)]
struct Question {
    parts: Vec<Part>,
}

#[derive(Deserialize, Serialize)]
struct Part {
    #[serde(default)]
    text: String,
}

#[derive(Serialize)]
struct Reply {
    jsonrpc: &'static str,
    id: Value,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Result(TaskEvent),
    Error { code: i32, message: &'static str },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum TaskEvent {
    Task {
        id: String,
        context_id: String,
        status: Status,
    },
    StatusUpdate {
        task_id: String,
        context_id: String,
        status: Status,
    },
    ArtifactUpdate {
        task_id: String,
        context_id: String,
        artifact: Artifact,
        append: bool,
    },
}

#[derive(Serialize)]
struct Status {
    state: TaskState,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message>,
}

#[derive(Serialize)]
enum TaskState {
    #[serde(rename = "TASK_STATE_WORKING")]
    Working,
    #[serde(rename = "TASK_STATE_COMPLETED")]
    Completed,
    #[serde(rename = "TASK_STATE_FAILED")]
    Failed,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    message_id: String,
    role: &'static str,
    parts: [Part; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Artifact {
    artifact_id: &'static str,
    parts: [Part; 1],
}

impl Request {
    fn reply(&self, outcome: Outcome) -> Reply {
        Reply {
            jsonrpc: "2.0",
            id: self.id.clone(),
            outcome,
        }
    }
}

/// A task, which ends with its stream.
struct Task<'a> {
    request: &'a Request,
    id: String,
    context_id: String,
}

impl Task<'_> {
    fn started(&self) -> Reply {
        self.request.reply(Outcome::Result(TaskEvent::Task {
            id: self.id.clone(),
            context_id: self.context_id.clone(),
            status: Status {
                state: TaskState::Working,
                message: None,
            },
        }))
    }

    fn wrote(&self, text: String, append: bool) -> Reply {
        self.request
            .reply(Outcome::Result(TaskEvent::ArtifactUpdate {
                task_id: self.id.clone(),
                context_id: self.context_id.clone(),
                artifact: Artifact {
                    artifact_id: "answer",
                    parts: [Part { text }],
                },
                append,
            }))
    }

    fn ended(&self, state: TaskState, error: Option<ModelError>) -> Reply {
        let message = error.map(|error| Message {
            message_id: format!("{}-error", self.id),
            role: "ROLE_AGENT",
            parts: [Part {
                text: error.to_string(),
            }],
        });
        self.request.reply(Outcome::Result(TaskEvent::StatusUpdate {
            task_id: self.id.clone(),
            context_id: self.context_id.clone(),
            status: Status { state, message },
        }))
    }
}

/// Answers a message.
#[sse_endpoint("/a2a", method = POST, error_event = "message")]
async fn send_streaming_message(
    State(model): State<Model>,
    connection: Connection,
    Json(request): Json<Request>,
) -> Result<impl Stream<Item = Result<Reply, Reply>>, Json<Reply>> {
    if request.method != "SendStreamingMessage" {
        return Err(Json(request.reply(Outcome::Error {
            code: -32601,
            message: "Method not found",
        })));
    }
    let parts = request.params.message.parts.iter();
    let mut answer = model.answer(parts.map(|part| part.text.as_str()).collect());
    let task = Task {
        request: &request,
        id: format!("task-{}", connection.id()),
        context_id: format!("context-{}", connection.id()),
    };

    yield_!(task.started());
    let mut append = false;
    let failed = |error| task.ended(TaskState::Failed, Some(error));
    while let Some(text) = answer.try_next().await.map_err(failed)? {
        yield_!(task.wrote(text, append));
        append = true;
    }
    yield_!(task.ended(TaskState::Completed, None));
}

pub(crate) fn app(model: Model) -> Router {
    Router::new().sse(send_streaming_message).with_state(model)
}
