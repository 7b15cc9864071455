//! A small model with the APIs of OpenAI and Anthropic. It always gives the same answer.

use std::{io, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sse_runtime::{Event, ResponseHeaders, SseEvent, SseRouterExt, Stream, relay, sse_endpoint};
use tokio::{net::TcpListener, sync::watch, time::sleep};

pub(crate) const ANSWER: &str = "A gateway passes on every event as soon as it is complete, \
    counts what it passes on, and hangs up on the model when its own client hangs up.";

/// The number of words after which the model `flaky` stops.
pub(crate) const FLAKY: usize = 3;

/// The value of the `retry-after` header with which the model `busy` responds, in seconds.
pub(crate) const BUSY_FOR: u64 = 7;

#[derive(Clone)]
pub(crate) struct Model {
    /// The time that it takes to write a word.
    pace: Duration,
    /// The number of answers in progress.
    pub(crate) writing: watch::Sender<usize>,
}

impl Model {
    pub(crate) fn new(pace: Duration) -> Self {
        Self {
            pace,
            writing: watch::Sender::new(0),
        }
    }

    /// Serves the model on a free port and returns its URL.
    pub(crate) async fn start(self) -> io::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let app = Router::new()
            .sse(chat_completions)
            .sse(messages)
            .with_state(self);
        tokio::spawn(sse_runtime::serve(listener, app));
        Ok(format!("http://{addr}"))
    }

    fn answer(&self, request: &Request) -> Words {
        let words = ANSWER.split_inclusive(' ');
        let words = words.take(if request.is_flaky() {
            FLAKY
        } else {
            usize::MAX
        });
        self.writing.send_modify(|writing| *writing += 1);
        Words {
            model: self.clone(),
            words: words.collect(),
            written: 0,
        }
    }
}

/// An answer in progress.
struct Words {
    model: Model,
    words: Vec<&'static str>,
    written: usize,
}

impl Words {
    async fn next(&mut self) -> Option<&'static str> {
        let word = self.words.get(self.written)?;
        sleep(self.model.pace).await;
        self.written += 1;
        Some(word)
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        let (written, all) = (self.written, self.words.len());
        let how = if written < all { "stopped" } else { "finished" };
        println!("the model has {how} after {written} of {all} words");
        self.model.writing.send_modify(|writing| *writing -= 1);
    }
}

/// The parts of a request that the model reads, in both formats.
#[derive(Deserialize)]
struct Request {
    model: String,
    #[serde(default)]
    stream: bool,
}

impl Request {
    /// Returns the response of the model `busy`, or `None` if the request is for another model.
    fn busy(&self, error: Value) -> Option<Response> {
        let retry_after = [(RETRY_AFTER, BUSY_FOR.to_string())];
        let busy = (StatusCode::TOO_MANY_REQUESTS, retry_after, Json(error));
        (self.model == "busy").then(|| busy.into_response())
    }

    fn is_flaky(&self) -> bool {
        self.model == "flaky"
    }
}

fn failing() -> impl Stream<Item = io::Result<Bytes>> {
    tokio_stream::once(Err(io::Error::other("the model is flaky")))
}

#[sse_endpoint("/v1/chat/completions", method = POST)]
async fn chat_completions(
    State(model): State<Model>,
    headers: ResponseHeaders,
    Json(request): Json<Request>,
) -> Result<impl Stream<Item = Value>, Response> {
    let error = json!({ "message": "the model is busy", "type": "requests", "code": "busy" });
    if let Some(busy) = request.busy(json!({ "error": error })) {
        return Err(busy);
    }
    let mut words = model.answer(&request);
    if !request.stream {
        let message = json!({ "role": "assistant", "content": ANSWER });
        let tokens = words.words.len();
        words.written = tokens;
        let answer = json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": request.model,
            "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }],
            "usage": { "prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1 },
        });
        return Err(Json(answer).into_response());
    }
    if let Err(error) = headers.insert("x-request-id", "req_1") {
        return Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response());
    }
    let chunk = |delta: Value, finish_reason: Option<&str>| {
        json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": request.model,
            "choices": [{ "index": 0, "delta": delta, "finish_reason": finish_reason }],
        })
    };
    yield_!(chunk(json!({ "role": "assistant", "content": "" }), None));
    while let Some(word) = words.next().await {
        yield_!(chunk(json!({ "content": word }), None));
    }
    if request.is_flaky() {
        yield_all!(relay(failing()).abort_on_error());
    }
    yield_!(chunk(json!({}), Some("stop")));
    yield_!(Event::text("[DONE]"));
}

#[derive(SseEvent)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part {
    MessageStart { message: Value },
    ContentBlockStart { index: u32, content_block: Value },
    ContentBlockDelta { index: u32, delta: Delta },
    ContentBlockStop { index: u32 },
    MessageDelta { delta: Value, usage: Value },
    MessageStop,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Delta {
    TextDelta { text: &'static str },
}

#[sse_endpoint("/v1/messages", method = POST)]
async fn messages(
    State(model): State<Model>,
    headers: ResponseHeaders,
    Json(request): Json<Request>,
) -> Result<impl Stream<Item = Part>, Response> {
    let error = json!({ "type": "rate_limit_error", "message": "the model is busy" });
    if let Some(busy) = request.busy(json!({ "type": "error", "error": error })) {
        return Err(busy);
    }
    let mut words = model.answer(&request);
    let message = |content: Value, tokens: usize| {
        json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": request.model,
            "content": content, "stop_reason": null, "stop_sequence": null,
            "usage": { "input_tokens": 1, "output_tokens": tokens },
        })
    };
    if !request.stream {
        words.written = words.words.len();
        let mut answer = message(json!([{ "type": "text", "text": ANSWER }]), words.written);
        answer["stop_reason"] = "end_turn".into();
        return Err(Json(answer).into_response());
    }
    if let Err(error) = headers.insert("request-id", "req_1") {
        return Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response());
    }
    yield_!(Part::MessageStart {
        message: message(json!([]), 0),
    });
    yield_!(Part::ContentBlockStart {
        index: 0,
        content_block: json!({ "type": "text", "text": "" }),
    });
    while let Some(text) = words.next().await {
        yield_!(Part::ContentBlockDelta {
            index: 0,
            delta: Delta::TextDelta { text },
        });
    }
    if request.is_flaky() {
        yield_all!(relay(failing()).abort_on_error());
    }
    yield_!(Part::ContentBlockStop { index: 0 });
    yield_!(Part::MessageDelta {
        delta: json!({ "stop_reason": "end_turn", "stop_sequence": null }),
        usage: json!({ "output_tokens": words.written }),
    });
    yield_!(Part::MessageStop);
}
