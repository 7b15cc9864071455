//! `OpenAI`'s Responses API, in which every event has a sequence number and repeats its name in its
//! `type`.

use serde::Serialize;
use serde_json::{Value, json};
use sse_runtime::{Event, SseEvent, Start, Stream, sse_endpoint};

use super::{FAILURE, Failed, PIECES, Script, finished_topic};

#[derive(Clone, Debug, SseEvent)]
#[serde(tag = "type")]
pub(super) enum Part {
    #[serde(rename = "response.created")]
    #[sse(event = "response.created")]
    Created {
        sequence_number: usize,
        response: Value,
    },
    #[serde(rename = "response.in_progress")]
    #[sse(event = "response.in_progress")]
    InProgress {
        sequence_number: usize,
        response: Value,
    },
    #[serde(rename = "response.output_text.delta")]
    #[sse(event = "response.output_text.delta")]
    OutputTextDelta {
        sequence_number: usize,
        item_id: &'static str,
        output_index: u32,
        content_index: u32,
        delta: &'static str,
    },
    #[serde(rename = "response.completed")]
    #[sse(event = "response.completed")]
    Completed {
        sequence_number: usize,
        response: Value,
    },
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "error")]
pub(super) struct ApiError {
    sequence_number: usize,
    code: &'static str,
    message: &'static str,
    param: Option<&'static str>,
}

fn answer() -> Vec<Part> {
    let response = |status: &str| {
        json!({
            "id": "resp_1", "object": "response", "created_at": 1, "model": "parrot-1", "status": status,
            "output": [], "parallel_tool_calls": false, "tool_choice": "auto", "tools": [],
        })
    };
    let mut parts = vec![
        Part::Created {
            sequence_number: 0,
            response: response("in_progress"),
        },
        Part::InProgress {
            sequence_number: 1,
            response: response("in_progress"),
        },
    ];
    parts.extend(
        (2..)
            .zip(PIECES)
            .map(|(sequence_number, delta)| Part::OutputTextDelta {
                sequence_number,
                item_id: "msg_1",
                output_index: 0,
                content_index: 0,
                delta,
            }),
    );
    parts.push(Part::Completed {
        sequence_number: parts.len(),
        response: response("completed"),
    });
    parts
}

#[sse_endpoint(
    "/v1/responses",
    method = POST,
    retry = "1s",
    keep_alive = "100ms",
    max_duration = "4s"
)]
pub(super) async fn responses(script: Script) -> impl Stream<Item = Result<Part, ApiError>> {
    let failed = |sequence_number| ApiError {
        sequence_number,
        code: "server_error",
        message: FAILURE,
        param: None,
    };
    if script.reads_topic() {
        let topic = finished_topic(answer()).await.map_err(|_| failed(0))?;
        yield_all!(topic.subscribe(Start::First));
        return;
    }
    for (index, part) in answer().iter().enumerate() {
        if let Err(Failed) = script.before(index).await {
            return Err(failed(index));
        }
        yield_!(Event::json(part).id(index));
    }
}
