//! OpenAI's Responses.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::{Json, Router, extract::State};
use serde::{Deserialize, Serialize};
use sse_runtime::{Connection, SseEvent, SseRouterExt as _, Stream, sse_endpoint};
use tokio_stream::StreamExt as _;

use super::model::{Model, ModelError};

#[derive(Deserialize)]
struct Request {
    model: String,
    input: String,
}

#[derive(SseEvent)]
#[serde(tag = "type")]
enum ResponseEvent {
    #[serde(rename = "response.created")]
    #[sse(event = "response.created")]
    Created {
        sequence_number: u64,
        response: Response,
    },
    #[serde(rename = "response.output_item.added")]
    #[sse(event = "response.output_item.added")]
    OutputItemAdded {
        sequence_number: u64,
        output_index: u32,
        item: Item,
    },
    #[serde(rename = "response.content_part.added")]
    #[sse(event = "response.content_part.added")]
    ContentPartAdded {
        sequence_number: u64,
        #[serde(flatten)]
        place: Place,
        part: Part,
    },
    #[serde(rename = "response.output_text.delta")]
    #[sse(event = "response.output_text.delta")]
    OutputTextDelta {
        sequence_number: u64,
        #[serde(flatten)]
        place: Place,
        delta: String,
    },
    #[serde(rename = "response.content_part.done")]
    #[sse(event = "response.content_part.done")]
    ContentPartDone {
        sequence_number: u64,
        #[serde(flatten)]
        place: Place,
        part: Part,
    },
    #[serde(rename = "response.output_item.done")]
    #[sse(event = "response.output_item.done")]
    OutputItemDone {
        sequence_number: u64,
        output_index: u32,
        item: Item,
    },
    #[serde(rename = "response.completed")]
    #[sse(event = "response.completed")]
    Completed {
        sequence_number: u64,
        response: Response,
    },
}

#[derive(Clone, Serialize)]
struct Response {
    id: String,
    object: &'static str,
    created_at: u64,
    model: String,
    status: &'static str,
    output: Vec<Item>,
}

#[derive(Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Item {
    Message {
        id: String,
        role: &'static str,
        status: &'static str,
        content: Vec<Part>,
    },
}

#[derive(Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part {
    OutputText {
        text: String,
        annotations: [String; 0],
    },
}

/// The place of a part in a response.
#[derive(Serialize)]
struct Place {
    item_id: String,
    output_index: u32,
    content_index: u32,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Failure {
    Error {
        sequence_number: u64,
        code: &'static str,
        message: String,
        param: Option<String>,
    },
}

impl Response {
    fn new(id: u64, model: String) -> Self {
        let created = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            id: format!("resp_{id}"),
            object: "response",
            created_at: created.map_or(0, |since| since.as_secs()),
            model,
            status: "in_progress",
            output: Vec::new(),
        }
    }

    /// Returns the message that contains the answer. While the answer is being written, the message
    /// is empty.
    fn message(&self, answer: Option<&str>) -> Item {
        Item::Message {
            id: format!("{}_message", self.id),
            role: "assistant",
            status: answer.map_or("in_progress", |_| "completed"),
            content: answer.map(Part::text).into_iter().collect(),
        }
    }

    fn place(&self) -> Place {
        Place {
            item_id: format!("{}_message", self.id),
            output_index: 0,
            content_index: 0,
        }
    }

    fn completed(&self, answer: &str) -> Self {
        Self {
            status: "completed",
            output: vec![self.message(Some(answer))],
            ..self.clone()
        }
    }
}

impl Part {
    fn text(text: &str) -> Self {
        Self::OutputText {
            text: text.to_owned(),
            annotations: [],
        }
    }
}

impl Failure {
    fn new(sequence_number: u64, error: &ModelError) -> Self {
        Self::Error {
            sequence_number,
            code: "server_error",
            message: error.to_string(),
            param: None,
        }
    }
}

/// The sequence number of the next event.
#[derive(Default)]
struct Sequence(u64);

impl Sequence {
    fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0 - 1
    }
}

/// Answers a question.
#[sse_endpoint("/v1/responses", method = POST)]
async fn responses(
    State(model): State<Model>,
    connection: Connection,
    Json(request): Json<Request>,
) -> impl Stream<Item = Result<ResponseEvent, Failure>> {
    let mut answer = model.answer(request.input);
    let response = Response::new(connection.id(), request.model);
    let mut sequence = Sequence::default();

    yield_!(ResponseEvent::Created {
        sequence_number: sequence.next(),
        response: response.clone(),
    });
    yield_!(ResponseEvent::OutputItemAdded {
        sequence_number: sequence.next(),
        output_index: 0,
        item: response.message(None),
    });
    yield_!(ResponseEvent::ContentPartAdded {
        sequence_number: sequence.next(),
        place: response.place(),
        part: Part::text(""),
    });
    let mut text = String::new();
    while let Some(delta) = answer
        .try_next()
        .await
        .map_err(|error| Failure::new(sequence.next(), &error))?
    {
        text.push_str(&delta);
        yield_!(ResponseEvent::OutputTextDelta {
            sequence_number: sequence.next(),
            place: response.place(),
            delta,
        });
    }
    yield_!(ResponseEvent::ContentPartDone {
        sequence_number: sequence.next(),
        place: response.place(),
        part: Part::text(&text),
    });
    yield_!(ResponseEvent::OutputItemDone {
        sequence_number: sequence.next(),
        output_index: 0,
        item: response.message(Some(&text)),
    });
    yield_!(ResponseEvent::Completed {
        sequence_number: sequence.next(),
        response: response.completed(&text),
    });
}

pub(crate) fn app(model: Model) -> Router {
    Router::new().sse(responses).with_state(model)
}
