//! The Model Context Protocol's Streamable HTTP transport, version 2026-07-28.

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sse_runtime::{SseRouterExt as _, Stream, sse_endpoint};
use tokio_stream::StreamExt as _;

use super::model::{Model, ModelError};

#[derive(Deserialize)]
struct Request {
    /// `None` in a notification.
    id: Option<Value>,
    method: String,
    #[serde(default)]
    params: Value,
}

#[derive(Serialize)]
struct Message {
    jsonrpc: &'static str,
    #[serde(flatten)]
    content: Content,
}

#[derive(Serialize)]
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

#[derive(Serialize)]
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

/// Receives the client's messages. The response to a tool call is a stream. A client cancels a call
/// by closing its stream.
#[sse_endpoint("/mcp", method = POST, error_event = "message")]
async fn mcp(
    State(model): State<Model>,
    Json(request): Json<Request>,
) -> Result<impl Stream<Item = Result<Message, Message>>, Response> {
    let Some(id) = request.id else {
        return Err(StatusCode::ACCEPTED.into_response());
    };
    if request.method != "tools/call" {
        return Err(respond(&request.method, id));
    }
    let question = request.params["arguments"]["question"].as_str();
    let mut answer = model.answer(question.unwrap_or_default().to_owned());
    let progress_token = request.params["_meta"]["progressToken"].clone();
    let completed = |text: String, is_error| {
        let content = [json!({ "type": "text", "text": text })];
        let result = json!({ "resultType": "complete", "content": content, "isError": is_error });
        let id = id.clone();
        Message::from(Content::Result { id, result })
    };
    let failed = |error: ModelError| completed(error.to_string(), true);

    let mut text = String::new();
    let mut progress = 0;
    while let Some(message) = answer.try_next().await.map_err(failed)? {
        text.push_str(&message);
        progress += 1;
        let params = Progress {
            progress_token: progress_token.clone(),
            progress,
            message,
        };
        let method = "notifications/progress";
        yield_!(Message::from(Content::Notification { method, params }));
    }
    yield_!(completed(text, false));
}

/// Responds to a request that is not a tool call.
fn respond(method: &str, id: Value) -> Response {
    let result = |result| {
        let id = id.clone();
        Json(Message::from(Content::Result { id, result })).into_response()
    };
    match method {
        "server/discover" => result(json!({
            "resultType": "complete",
            "supportedVersions": ["2026-07-28"],
            "capabilities": { "tools": {} },
            "ttlMs": 3_600_000,
            "cacheScope": "public",
            "_meta": { "io.modelcontextprotocol/serverInfo": { "name": "answers", "version": "1.0.0" } },
        })),
        "tools/list" => result(json!({
            "resultType": "complete",
            "tools": [{ "name": "ask", "inputSchema": { "type": "object" } }],
            "ttlMs": 3_600_000,
            "cacheScope": "public",
        })),
        _ => {
            let error = json!({ "code": -32601, "message": "Method not found" });
            let error = Json(Message::from(Content::Error { id, error }));
            (StatusCode::NOT_FOUND, error).into_response()
        }
    }
}

pub(crate) fn app(model: Model) -> Router {
    Router::new().sse(mcp).with_state(model)
}
