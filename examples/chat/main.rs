//! Two ways to stream a language model's answer, word by word.
//!
//! The page uses `/answers/{id}`, which keeps writing an answer even if no client reads it. To see
//! this, reload the page in the middle of an answer, or open it in another tab. The page reads the
//! stream with a client that is generated from the endpoints. Open `/streams` to see every frame.
//!
//! ```sh
//! cargo run --example chat           # a page at http://127.0.0.1:3000
//! cargo run --example chat -- --store chat.redb    # answers survive a restart, even after `kill -9`
//! cargo run --example chat -- --store redis://127.0.0.1 --port 3001    # several servers share the answers
//! curl -N http://127.0.0.1:3000/answers/1 \
//!   --json '{"model": "parrot-1", "messages": [{"role": "user", "content": "What is SSE?"}]}'
//! curl -N http://127.0.0.1:3000/answers/1      # the same answer, as often as you like
//! curl -X DELETE http://127.0.0.1:3000/answers/1
//! ```
//!
//! `/v1/chat/completions` uses the format of [OpenAI's chat
//! completions](https://platform.openai.com/docs/api-reference/chat/streaming) and stops writing
//! when the client disconnects. It works with any client that lets you set the base URL.
//!
//! ```sh
//! curl -N http://127.0.0.1:3000/v1/chat/completions \
//!   --json '{"model": "parrot-1", "stream": true, "messages": [{"role": "user", "content": "What is SSE?"}]}'
//! ```
//!
//! The `model` module stands in for the language model.
#![allow(
    clippy::print_stdout,
    reason = "an example prints its address and what it is doing"
)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::{
    Json, Router,
    extract::{FromRef, Path, State, rejection::JsonRejection},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{Html, IntoResponse, Response},
    routing::{delete, get},
};
use clap::Parser;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sse_runtime::{
    Event, Hub, LastEventId, Server, SseEvent, SseRouterExt, Stream, Topic,
    openapi::Api,
    sse_endpoint,
    topic::{HubError, PublishError},
};

mod model;
use model::{Model, Words};

#[path = "../node/mod.rs"]
mod node;
use node::{Node, NodeArgs};

/// The events of an answer at `/answers/{id}`. There is one `word` event per word, followed by
/// `finished`.
#[derive(Clone, Debug, Deserialize, JsonSchema, SseEvent)]
enum Piece {
    /// The name of the server that the client is connected to.
    #[sse(text)]
    Server(String),
    /// A word, and the space after it.
    Word(String),
    /// The answer is complete. A stopped answer ends without this event.
    Finished,
}

/// The number of events to keep per answer. This has to cover a whole answer, because a reloaded
/// page reads it from the beginning.
const HELD: usize = 10_000;

/// Writes an answer and streams it.
///
/// The answer continues whether or not a client reads it. The client chooses the id, so it can
/// safely repeat a request whose response was lost, with or without the last event ID. The answer is
/// only written once. The id must be hard to guess, because any client that knows it can read and
/// stop the answer.
#[sse_endpoint("/answers/{id}", method = POST, events = "all", retry = "1s")]
async fn ask(
    Path(id): Path<String>,
    State(model): State<Model>,
    State(answers): State<Hub<Piece>>,
    State(node): State<Node>,
    last: LastEventId,
    request: Result<Json<Request>, JsonRejection>,
) -> Result<impl Stream<Item = Piece>, Answer> {
    let Json(request) = request?;
    let Some(question) = request.messages.last() else {
        return Err(Answer::no_messages());
    };
    let producer = |answer| write(model.answer(&question.content), answer);
    let answer = answers.spawn(&id, last, producer).await?;
    if let Some(name) = node.name() {
        yield_!(Piece::Server(name.to_owned()));
    }
    // The stream ends with `done`, or with `error` if the run failed.
    yield_all!(answer);
}

/// Publishes an answer word by word, independently of its readers.
async fn write(mut words: Words, answer: Topic<Piece>) -> Result<(), PublishError> {
    while let Some(word) = words.next().await {
        answer.publish(&Piece::Word(word)).await?;
    }
    answer.publish(&Piece::Finished).await?;
    Ok(())
}

/// Streams an answer that was requested earlier.
///
/// The stream begins with the first word, or with the event after the client's last event ID. The
/// response is a 404 if the answer does not exist. If the program was restarted while it was
/// writing the answer, the stream ends with a `close` event.
#[sse_endpoint("/answers/{id}", retry = "1s")]
async fn answer(
    Path(id): Path<String>,
    State(answers): State<Hub<Piece>>,
    State(node): State<Node>,
    last: LastEventId,
) -> Result<impl Stream<Item = Piece>, Response> {
    let answer = answers.resume(&id, last).await;
    let answer = answer.map_err(IntoResponse::into_response)?;
    let answer = answer.ok_or_else(|| StatusCode::NOT_FOUND.into_response())?;
    if let Some(name) = node.name() {
        yield_!(Piece::Server(name.to_owned()));
    }
    yield_all!(answer);
}

/// Stops writing an answer. Its readers receive the words written so far, then `done`. Does nothing if
/// the answer has already ended.
async fn stop_answer(
    Path(id): Path<String>,
    State(answers): State<Hub<Piece>>,
) -> Result<StatusCode, HubError> {
    answers.abort(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Responds to a conversation with a stream of chunks if the request contains `"stream": true`.
/// Otherwise, responds with a single JSON object.
///
/// One endpoint can do both, because the code before the first `yield_!` runs before the response
/// begins. If that code returns an `Err`, the error is sent as the response instead of a stream.
/// [`Answer`] therefore represents both complete JSON answers and errors.
#[sse_endpoint("/v1/chat/completions", method = POST)]
async fn chat_completions(
    State(model): State<Model>,
    request: Result<Json<Request>, JsonRejection>,
) -> Result<impl Stream<Item = Chunk>, Answer> {
    let Json(request) = request?;
    let Some(question) = request.messages.last() else {
        return Err(Answer::no_messages());
    };
    let mut words = model.answer(&question.content);
    let id = format!("chatcmpl-{}", words.id());

    if !request.stream {
        let mut content = String::new();
        while let Some(word) = words.next().await {
            content.push_str(&word);
        }
        let usage = Usage::new(&request.messages, words.written());
        return Err(Answer::Whole(Completion::new(
            id,
            request.model,
            content,
            usage,
        )));
    }

    let mut chunk = Chunk::new(id, request.model);
    // The first chunk contains the role, and the last chunk contains the finish reason. `[DONE]` is
    // OpenAI's end-of-stream marker.
    yield_!(chunk.role("assistant"));
    while let Some(word) = words.next().await {
        yield_!(chunk.content(word));
    }
    yield_!(chunk.finish("stop"));
    yield_!(Event::text("[DONE]"));
}

/// A complete JSON answer or an error, which is sent instead of a stream.
#[derive(Debug)]
enum Answer {
    Whole(Completion),
    Refused(StatusCode, ApiError),
}

impl Answer {
    fn no_messages() -> Self {
        let error = ApiError {
            message: "'messages' must contain at least one message.".to_owned(),
            r#type: "invalid_request_error",
            param: Some("messages"),
            code: Some("missing_required_parameter"),
        };
        Self::Refused(StatusCode::BAD_REQUEST, error)
    }
}

impl From<JsonRejection> for Answer {
    fn from(rejection: JsonRejection) -> Self {
        // axum distinguishes invalid JSON (400) from JSON of the wrong shape (422). OpenAI does
        // not.
        let status = match rejection.status() {
            StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
            other => other,
        };
        let error = ApiError {
            message: rejection.body_text(),
            r#type: "invalid_request_error",
            param: None,
            code: None,
        };
        Self::Refused(status, error)
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        match self {
            Self::Whole(completion) => Json(completion).into_response(),
            Self::Refused(status, error) => {
                (status, Json(serde_json::json!({ "error": error }))).into_response()
            }
        }
    }
}

impl From<HubError> for Answer {
    fn from(error: HubError) -> Self {
        if error != HubError::Full {
            let error = ApiError {
                message: format!("The answer cannot be stored: {error}."),
                r#type: "server_error",
                param: None,
                code: None,
            };
            return Self::Refused(StatusCode::SERVICE_UNAVAILABLE, error);
        }
        let error = ApiError {
            message: "Too many answers are being written. Try again later.".to_owned(),
            r#type: "requests",
            param: None,
            code: Some("rate_limit_exceeded"),
        };
        Self::Refused(StatusCode::TOO_MANY_REQUESTS, error)
    }
}

/// A conversation, whose last message is the question.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("examples" = [{
    "model": "parrot-1",
    "messages": [{ "role": "user", "content": "What is an event stream?" }],
}]))]
struct Request {
    model: String,
    #[serde(default)]
    messages: Vec<Message>,
    #[serde(default)]
    stream: bool,
}

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
struct Message {
    role: String,
    content: String,
}

/// One chunk of a streamed answer. A stream reuses a single value for all of its chunks, since
/// `yield_!` also accepts references.
#[derive(Serialize)]
struct Chunk {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    choices: [ChunkChoice; 1],
}

#[derive(Default, Serialize)]
struct ChunkChoice {
    index: u32,
    delta: Delta,
    finish_reason: Option<&'static str>,
}

#[derive(Default, Serialize)]
struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
}

impl Chunk {
    fn new(id: String, model: String) -> Self {
        Self {
            id,
            object: "chat.completion.chunk",
            created: unix_time(),
            model,
            choices: [ChunkChoice::default()],
        }
    }

    fn role(&mut self, role: &'static str) -> &Self {
        self.choices[0].delta = Delta {
            role: Some(role),
            content: Some(String::new()),
        };
        self
    }

    fn content(&mut self, content: String) -> &Self {
        self.choices[0].delta = Delta {
            role: None,
            content: Some(content),
        };
        self
    }

    fn finish(&mut self, reason: &'static str) -> &Self {
        self.choices[0] = ChunkChoice {
            finish_reason: Some(reason),
            ..ChunkChoice::default()
        };
        self
    }
}

/// A complete answer.
#[derive(Debug, Serialize)]
struct Completion {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    choices: [Choice; 1],
    usage: Usage,
}

#[derive(Debug, Serialize)]
struct Choice {
    index: u32,
    message: Message,
    finish_reason: &'static str,
}

#[derive(Debug, Serialize)]
struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
}

impl Completion {
    fn new(id: String, model: String, content: String, usage: Usage) -> Self {
        let message = Message {
            role: "assistant".to_owned(),
            content,
        };
        Self {
            id,
            object: "chat.completion",
            created: unix_time(),
            model,
            choices: [Choice {
                index: 0,
                message,
                finish_reason: "stop",
            }],
            usage,
        }
    }
}

impl Usage {
    fn new(prompt: &[Message], completion_tokens: usize) -> Self {
        let words = |message: &Message| message.content.split_whitespace().count();
        let prompt_tokens = prompt.iter().map(words).sum();
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
        }
    }
}

#[derive(Debug, Serialize)]
struct ApiError {
    message: String,
    r#type: &'static str,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

fn unix_time() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[derive(Clone, FromRef)]
struct App {
    model: Model,
    answers: Hub<Piece>,
    node: Node,
}

impl App {
    fn new(model: Model, node: Node) -> Self {
        Self {
            model,
            answers: answers(&node),
            node,
        }
    }
}

/// How long the events of an answer are kept. Every answer is a separate topic, so without this
/// limit, a log would grow forever.
const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Creates the hub for the answers. If answers are held in memory, each of them stays readable for
/// five minutes after it has ended, which is the default of `idle`.
fn answers(node: &Node) -> Hub<Piece> {
    let answers = Hub::builder(|| Topic::builder().keep(HELD).keep_for(KEPT_FOR));
    node.hub(answers, "answers")
}

/// Returns the endpoints. Adds them to the description, except for `chat_completions`, which OpenAI
/// documents.
fn endpoints(api: &Api) -> Router<App> {
    Router::new()
        .sse(api.of(ask))
        .sse(api.of(answer))
        .sse(chat_completions)
}

fn app(app: App) -> Router {
    let api = Api::new("Chat", env!("CARGO_PKG_VERSION"));
    let client = (
        [(CONTENT_TYPE, "text/javascript")],
        include_str!("../clients/chat.js"),
    );
    endpoints(&api)
        .route("/", get(Html(include_str!("chat.html"))))
        .route("/streams.js", get(client))
        .route("/answers/{id}", delete(stop_answer))
        .route("/openapi.json", api.json())
        .route("/streams", api.explorer("/openapi.json"))
        .with_state(app)
}

#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    node: NodeArgs,
    #[arg(long, env, default_value_t = 3000)]
    port: u16,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let state = App::new(Model::default(), Node::open(args.node).await?);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", args.port)).await?;
    println!("http://{}", listener.local_addr()?);
    let node = state.node.clone();
    Server::new(app(state))
        .readiness_check("/readyz", move || node.is_healthy())
        .serve(listener)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests;
