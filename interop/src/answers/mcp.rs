//! The Model Context Protocol over streamable HTTP, which sends JSON-RPC messages as unnamed
//! events. Responses are plain JSON, except that tool calls report their progress in a stream.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sse_runtime::{Event, Start, Stream, sse_endpoint};

use super::{FAILURE, Failed, PIECES, Script, finished_topic};

#[derive(Debug, Deserialize)]
pub(super) struct Message {
    /// `None` in a notification.
    id: Option<Value>,
    method: String,
    #[serde(default)]
    params: Value,
}

/// A response that is sent instead of a stream.
pub(super) enum Answer {
    Accepted,
    Json(Value),
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        match self {
            Self::Accepted => StatusCode::ACCEPTED.into_response(),
            Self::Json(message) => Json(message).into_response(),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct RpcError {
    jsonrpc: &'static str,
    id: Value,
    error: Value,
}

impl RpcError {
    fn new(id: &Value, code: i32, message: &str) -> Self {
        Self {
            jsonrpc: "2.0",
            id: id.clone(),
            error: json!({ "code": code, "message": message }),
        }
    }
}

fn result(id: &Value, result: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "result": result })
}

/// Returns the messages of an answer. They consist of progress notifications that contain the text,
/// followed by the result.
fn answer(id: &Value, token: &Value) -> Vec<Value> {
    let progress = |(done, message): (usize, &str)| {
        json!({
            "jsonrpc": "2.0", "method": "notifications/progress",
            "params": { "progressToken": token, "progress": done, "message": message },
        })
    };
    let pieces = ["", ""].into_iter().chain(PIECES);
    let mut messages: Vec<_> = (1..).zip(pieces).map(progress).collect();
    let content = json!({ "content": [{ "type": "text", "text": "" }] });
    messages.push(result(id, &content));
    messages
}

#[sse_endpoint(
    "/mcp",
    method = POST,
    retry = "1s",
    keep_alive = "100ms",
    max_duration = "4s",
    error_event = "message"
)]
pub(super) async fn mcp(
    script: Script,
    Json(message): Json<Message>,
) -> Result<impl Stream<Item = Result<Value, RpcError>>, Answer> {
    let Some(id) = message.id else {
        return Err(Answer::Accepted);
    };
    match message.method.as_str() {
        "tools/call" => {}
        "tools/list" => {
            let tool = json!({ "name": "ask", "inputSchema": { "type": "object" } });
            return Err(Answer::Json(result(&id, &json!({ "tools": [tool] }))));
        }
        "initialize" => {
            return Err(Answer::Json(result(
                &id,
                &json!({
                    "protocolVersion": message.params["protocolVersion"],
                    "capabilities": { "tools": {} },
                    "serverInfo": { "name": "parrot", "version": "1" },
                }),
            )));
        }
        _ => {
            let error = RpcError::new(&id, -32601, "Method not found");
            return Err(Answer::Json(json!(error)));
        }
    }
    let failed = RpcError::new(&id, -32603, FAILURE);
    let messages = answer(&id, &message.params["_meta"]["progressToken"]);
    if script.reads_topic() {
        let topic = finished_topic(messages).await.map_err(|_| failed)?;
        yield_all!(topic.subscribe(Start::First));
        return;
    }
    for (index, message) in messages.iter().enumerate() {
        if let Err(Failed) = script.before(index).await {
            return Err(failed);
        }
        yield_!(Event::json(message).id(index));
    }
}
