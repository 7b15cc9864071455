//! Anthropic's Messages API, in which every event repeats its name in its `type`.

use serde::Serialize;
use serde_json::{Value, json};
use sse_runtime::{Event, SseEvent, Start, Stream, sse_endpoint};

use super::{FAILURE, Failed, PIECES, Script, finished_topic};

#[derive(Clone, Debug, SseEvent)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part {
    MessageStart { message: Value },
    ContentBlockStart { index: u32, content_block: Value },
    ContentBlockDelta { index: u32, delta: Delta },
    ContentBlockStop { index: u32 },
    MessageDelta { delta: Value, usage: Value },
    MessageStop,
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Delta {
    TextDelta { text: &'static str },
}

#[derive(Debug, Serialize)]
pub(super) struct ApiError {
    r#type: &'static str,
    error: Value,
}

impl From<Failed> for ApiError {
    fn from(_: Failed) -> Self {
        Self {
            r#type: "error",
            error: json!({ "type": "overloaded_error", "message": FAILURE }),
        }
    }
}

fn answer() -> Vec<Part> {
    let mut parts = vec![
        Part::MessageStart {
            message: json!({
                "id": "msg_1", "type": "message", "role": "assistant", "model": "parrot-1", "content": [],
                "stop_reason": null, "stop_sequence": null, "usage": { "input_tokens": 1, "output_tokens": 0 },
            }),
        },
        Part::ContentBlockStart {
            index: 0,
            content_block: json!({ "type": "text", "text": "" }),
        },
    ];
    parts.extend(PIECES.map(|text| Part::ContentBlockDelta {
        index: 0,
        delta: Delta::TextDelta { text },
    }));
    parts.extend([
        Part::ContentBlockStop { index: 0 },
        Part::MessageDelta {
            delta: json!({ "stop_reason": "end_turn", "stop_sequence": null }),
            usage: json!({ "output_tokens": PIECES.len() }),
        },
        Part::MessageStop,
    ]);
    parts
}

#[sse_endpoint(
    "/v1/messages",
    method = POST,
    retry = "1s",
    keep_alive = "100ms",
    max_duration = "4s"
)]
pub(super) async fn messages(script: Script) -> impl Stream<Item = Result<Part, ApiError>> {
    if script.reads_topic() {
        yield_all!(
            finished_topic(answer())
                .await
                .map_err(|_| Failed)?
                .subscribe(Start::First)
        );
        return;
    }
    for (index, part) in answer().iter().enumerate() {
        script.before(index).await?;
        yield_!(Event::json(part).id(index));
    }
}
