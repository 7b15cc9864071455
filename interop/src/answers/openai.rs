//! `OpenAI`'s chat completions, which are sent as chunks in unnamed events, followed by `[DONE]`.

use serde::Serialize;
use serde_json::{Value, json};
use sse_runtime::{Event, Start, Stream, sse_endpoint};

use super::{FAILURE, Failed, PIECES, Script, finished_topic};

/// An error in a stream. OpenAI's clients recognize it by the `error` field.
#[derive(Debug, Serialize)]
pub(super) struct ApiError {
    error: Value,
}

impl From<Failed> for ApiError {
    fn from(_: Failed) -> Self {
        Self {
            error: json!({ "message": FAILURE, "type": "server_error", "param": null, "code": "overloaded" }),
        }
    }
}

fn chunk(delta: &Value, finish_reason: Option<&str>) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "parrot-1",
        "choices": [{ "index": 0, "delta": delta, "finish_reason": finish_reason }],
    })
}

fn answer() -> Vec<Value> {
    let mut chunks = vec![
        chunk(&json!({ "role": "assistant" }), None),
        chunk(&json!({ "content": "" }), None),
    ];
    chunks.extend(PIECES.map(|piece| chunk(&json!({ "content": piece }), None)));
    chunks.push(chunk(&json!({}), Some("stop")));
    chunks
}

#[sse_endpoint(
    "/v1/chat/completions",
    method = POST,
    retry = "1s",
    keep_alive = "100ms",
    max_duration = "4s"
)]
pub(super) async fn completions(script: Script) -> impl Stream<Item = Result<Value, ApiError>> {
    if script.reads_topic() {
        yield_all!(
            finished_topic(answer())
                .await
                .map_err(|_| Failed)?
                .subscribe(Start::First)
        );
    } else {
        for (index, chunk) in answer().iter().enumerate() {
            script.before(index).await?;
            yield_!(Event::json(chunk).id(index));
        }
    }
    yield_!(Event::text("[DONE]"));
}
