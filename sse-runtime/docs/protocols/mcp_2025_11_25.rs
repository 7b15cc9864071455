//! The Model Context Protocol's Streamable HTTP transport, version 2025-11-25.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{FromRequestParts, State},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sse_runtime::{
    Event, Hub, LastEventId, SseRouterExt as _, Start, Stream, Topic, sse_endpoint,
    topic::{PublishError, ResumeError},
};
use tokio_stream::StreamExt as _;
use uuid::Uuid;

use super::model::{Answer, Model};

#[derive(Deserialize)]
struct Request {
    /// `None` in a notification.
    id: Option<Value>,
    method: String,
    #[serde(default)]
    params: Value,
}

#[derive(Clone, Serialize)]
struct Message {
    jsonrpc: &'static str,
    #[serde(flatten)]
    content: Content,
}

#[derive(Clone, Serialize)]
#[serde(untagged)]
enum Content {
    Notification {
        method: &'static str,
        params: Progress,
    },
    Result {
        id: Value,
        result: Value,
    },
    Error {
        id: Value,
        error: Value,
    },
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Progress {
    progress_token: Value,
    progress: u64,
    message: String,
}

impl From<Content> for Message {
    fn from(content: Content) -> Self {
        let jsonrpc = "2.0";
        Self { jsonrpc, content }
    }
}

/// The session's id, which is empty in the request that initializes the session.
struct Session(String);

impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        let id = parts.headers.get("mcp-session-id");
        let id = id.map_or(Ok(""), |id| id.to_str());
        let id = id.map_err(|_| StatusCode::BAD_REQUEST)?;
        Ok(Self(id.to_owned()))
    }
}

impl Session {
    /// Returns the name of a call's run.
    fn call(&self, id: &Value) -> String {
        format!("{}/{id}", self.0)
    }

    fn contains(&self, call: &str) -> bool {
        let id = call.rsplit_once('/');
        id.is_some_and(|(session, _)| session == self.0)
    }
}

#[derive(Clone)]
struct Server {
    model: Model,
    /// The calls of all sessions.
    calls: Hub<Message>,
}

/// Receives the client's messages. The response to a tool call is a stream.
#[sse_endpoint("/mcp", method = POST, retry = "1s", max_duration = "10s", on_cut = "end")]
async fn post(
    State(server): State<Server>,
    session: Session,
    Json(request): Json<Request>,
) -> Result<impl Stream<Item = Message>, Response> {
    let Some(id) = request.id else {
        if request.method == "notifications/cancelled" {
            let call = session.call(&request.params["requestId"]);
            let aborted = server.calls.abort(&call).await;
            aborted.map_err(IntoResponse::into_response)?;
        }
        return Err(StatusCode::ACCEPTED.into_response());
    };
    if request.method != "tools/call" {
        return Err(respond(&request.method, id));
    }
    if session.0.is_empty() {
        return Err(StatusCode::BAD_REQUEST.into_response());
    }
    let call = session.call(&id);
    let question = request.params["arguments"]["question"].as_str();
    let answer = server.model.answer(question.unwrap_or_default().to_owned());
    let token = request.params["_meta"]["progressToken"].clone();
    let run = |messages| write(id, token, answer, messages);
    let messages = server.calls.spawn(&call, Start::First, run).await;
    let messages = messages.map_err(IntoResponse::into_response)?;

    // The priming event. From now on, the client can resume.
    yield_!(Event::text("").id(messages.position()));
    yield_all!(messages);
}

/// Resumes the stream of the call named by the client's last event ID.
#[sse_endpoint("/mcp", events = "own", retry = "1s", max_duration = "10s")]
async fn get(
    State(server): State<Server>,
    session: Session,
    last: LastEventId,
) -> Result<impl Stream<Item = Message>, Response> {
    let belongs_to_session = |call: &str| session.contains(call);
    let messages = server.calls.resume_by_id(last, belongs_to_session).await;
    let messages = messages.map_err(|error| match error {
        // Without an id, the client asks for messages that do not belong to a call. There are none.
        ResumeError::NoId => StatusCode::METHOD_NOT_ALLOWED.into_response(),
        error => error.into_response(),
    })?;
    yield_all!(messages);
}

/// Publishes the progress and the result of a call.
async fn write(
    id: Value,
    progress_token: Value,
    mut answer: Answer,
    messages: Topic<Message>,
) -> Result<(), PublishError> {
    let mut text = String::new();
    let mut progress = 0;
    let failure = loop {
        match answer.try_next().await {
            Ok(Some(message)) => {
                text.push_str(&message);
                progress += 1;
                let params = Progress {
                    progress_token: progress_token.clone(),
                    progress,
                    message,
                };
                let method = "notifications/progress";
                let notification = Content::Notification { method, params };
                messages.publish(&notification.into()).await?;
            }
            Ok(None) => break None,
            Err(error) => break Some(error.to_string()),
        }
    };
    let is_error = failure.is_some();
    let content = [json!({ "type": "text", "text": failure.unwrap_or(text) })];
    let result = json!({ "content": content, "isError": is_error });
    messages
        .publish(&Content::Result { id, result }.into())
        .await?;
    Ok(())
}

/// Responds to a request that is not a tool call.
fn respond(method: &str, id: Value) -> Response {
    let result = |result| {
        Json(Message::from(Content::Result {
            id: id.clone(),
            result,
        }))
    };
    match method {
        "initialize" => {
            let session = [("mcp-session-id", Uuid::new_v4().to_string())];
            let initialized = json!({
                "protocolVersion": "2025-11-25",
                "capabilities": { "tools": {} },
                "serverInfo": { "name": "answers", "version": "1.0.0" },
            });
            (session, result(initialized)).into_response()
        }
        "tools/list" => {
            let tool = json!({ "name": "ask", "inputSchema": { "type": "object" } });
            result(json!({ "tools": [tool] })).into_response()
        }
        _ => {
            let error = json!({ "code": -32601, "message": "Method not found" });
            Json(Message::from(Content::Error { id, error })).into_response()
        }
    }
}

pub(crate) fn app(model: Model) -> Router {
    let calls = Hub::builder(|| Topic::builder().keep(10_000))
        // How long a call continues without a reader.
        .abandon_after(Duration::from_secs(60))
        // Adds the call's name to each id, so that `get` can find the call.
        .named_ids();
    let calls = calls.build();
    Router::new()
        .sse(post)
        .sse(get)
        .with_state(Server { model, calls })
}
