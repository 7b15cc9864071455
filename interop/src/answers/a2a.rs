//! `Agent2Agent` 1.0 over JSON-RPC. Every event is unnamed and contains a response with the
//! request's id.

use axum::{Json, Router, extract::Path, http::HeaderMap, routing::get};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sse_runtime::{Event, SseRouterExt as _, Start, Stream, sse_endpoint};

use super::{FAILURE, Failed, PIECES, Script, Waiting, finished_topic};

#[derive(Debug, Deserialize)]
pub(super) struct Request {
    id: Value,
}

#[derive(Debug, Serialize)]
pub(super) struct RpcError {
    jsonrpc: &'static str,
    id: Value,
    error: Value,
}

fn answer(id: &Value) -> Vec<Value> {
    let (task, context) = ("task-1", "context-1");
    let state = |state: &str| {
        let status = json!({ "state": state });
        json!({ "statusUpdate": { "taskId": task, "contextId": context, "status": status } })
    };
    let submitted = json!({ "state": "TASK_STATE_SUBMITTED" });
    let mut results = vec![
        json!({ "task": { "id": task, "contextId": context, "status": submitted } }),
        state("TASK_STATE_WORKING"),
    ];
    results.extend(PIECES.iter().enumerate().map(|(index, text)| {
        json!({ "artifactUpdate": {
            "taskId": task, "contextId": context, "append": index > 0, "lastChunk": index + 1 == PIECES.len(),
            "artifact": { "artifactId": "artifact-1", "parts": [{ "text": text }] },
        }})
    }));
    results.push(state("TASK_STATE_COMPLETED"));
    let response = |result| json!({ "jsonrpc": "2.0", "id": id, "result": result });
    results.into_iter().map(response).collect()
}

#[sse_endpoint(
    "/a2a",
    method = POST,
    retry = "1s",
    keep_alive = "100ms",
    max_duration = "4s"
)]
async fn send_streaming_message(
    script: Script,
    Json(request): Json<Request>,
) -> impl Stream<Item = Result<Value, RpcError>> {
    let failed = RpcError {
        jsonrpc: "2.0",
        id: request.id.clone(),
        error: json!({ "code": -32603, "message": FAILURE }),
    };
    let responses = answer(&request.id);
    if script.reads_topic() {
        let topic = finished_topic(responses).await.map_err(|_| failed)?;
        yield_all!(topic.subscribe(Start::First));
        return;
    }
    for (index, response) in responses.iter().enumerate() {
        if let Err(Failed) = script.before(index).await {
            return Err(failed);
        }
        yield_!(Event::json(response).id(index));
    }
}

/// Serves the agent card, from which clients get the agent's URL.
async fn agent_card(Path(case): Path<String>, headers: HeaderMap) -> Json<Value> {
    let host = headers.get("host").and_then(|host| host.to_str().ok());
    let url = format!("http://{}/{case}/a2a", host.unwrap_or_default());
    Json(json!({
        "name": "parrot", "description": "Repeats itself.", "version": "1",
        "supportedInterfaces": [{ "url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0" }],
        "capabilities": { "streaming": true },
        "defaultInputModes": ["text/plain"], "defaultOutputModes": ["text/plain"], "skills": [],
    }))
}

pub(super) fn app() -> Router<Waiting> {
    Router::new()
        .sse(send_streaming_message)
        .route("/.well-known/agent-card.json", get(agent_card))
}
