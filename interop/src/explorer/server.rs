//! The server for the page: endpoints with event streams, and the documents that describe them.

use std::{convert::Infallible, process::Stdio};

use axum::{
    Form, Json, Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sse_runtime::{
    Event, Hub, LastEventId, SseError, SseEvent, SseRouterExt as _, Start, Stream, Topic,
    openapi::Api, sse_endpoint, topic::HubError,
};
use tokio::{io::AsyncWriteExt as _, process::Command, sync::watch};

use crate::{client::Programs, pages::to_text};

const PAGE: &str = include_str!("../../../sse-runtime/src/openapi/explorer.html");
const _: () = assert!(PAGE.len() < 48 * 1024, "the page is part of the crate");

/// An event of a room's answer.
#[derive(Clone, Debug, JsonSchema, SseEvent)]
pub(super) enum Answer {
    /// A piece of the answer.
    Token {
        text: String,
    },
    #[sse(event = "tool-call")]
    ToolCall(Call),
    Finished,
}

#[derive(Clone, Debug, JsonSchema, Serialize)]
pub(super) struct Call {
    /// The name of the tool.
    name: String,
    at: u64,
    arguments: Value,
}

impl Call {
    pub(super) fn nested() -> Self {
        Self {
            name: "search".to_owned(),
            at: u64::MAX,
            arguments: json!({ "query": "event streams", "empty": [], "list": [1, { "deep": true }] }),
        }
    }
}

impl Answer {
    pub(super) fn all() -> Vec<Self> {
        let tokens = (1..=3).map(|number| Self::Token {
            text: number.to_string(),
        });
        tokens
            .chain([Self::ToolCall(Call::nested()), Self::Finished])
            .collect()
    }
}

#[derive(Debug, thiserror::Error, SseError)]
enum AskError {
    #[error("room {room} does not exist")]
    #[sse(status = 404)]
    NoRoom { room: u64 },
    #[error("the model is overloaded")]
    #[sse(status = 429)]
    Busy { after: u64 },
    #[error("the rooms are not available")]
    #[sse(status = 503)]
    Rooms(#[from] HubError),
}

/// The answers of all rooms, and the number of their readers.
#[derive(Clone)]
pub(super) struct Rooms {
    answers: Hub<Answer>,
    readers: watch::Sender<usize>,
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            answers: Hub::new(|| Topic::builder().keep(100)),
            readers: watch::Sender::default(),
        }
    }
}

impl Rooms {
    pub(super) async fn topic(&self, room: &str) -> Result<Topic<Answer>, HubError> {
        self.answers.topic(room).await
    }

    pub(super) fn readers(&self) -> watch::Receiver<usize> {
        self.readers.subscribe()
    }
}

/// A drop guard that counts a reader.
struct Reader(watch::Sender<usize>);

impl Reader {
    fn new(readers: &watch::Sender<usize>) -> Self {
        readers.send_modify(|readers| *readers += 1);
        Self(readers.clone())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.send_modify(|readers| *readers -= 1);
    }
}

/// The answer of a room's model.
///
/// Sends the words that the client has missed since its `Last-Event-ID`.
#[sse_endpoint("/rooms/{room}/answer", retry = "3s", keep_alive = "500ms")]
async fn answer(
    Path(room): Path<u64>,
    State(rooms): State<Rooms>,
    last: LastEventId,
) -> Result<impl Stream<Item = Answer>, AskError> {
    if room == 404 {
        return Err(AskError::NoRoom { room });
    }
    let answer = rooms.topic(&room.to_string()).await?;
    // Declared before the subscription, and therefore dropped after it.
    let _reader = Reader::new(&rooms.readers);
    yield_all!(answer.subscribe(last.or(Start::First)));
}

#[derive(Deserialize, JsonSchema)]
struct Ask {
    prompt: String,
}

/// Repeats the prompt.
///
/// It also repeats the header `X-Note`.
#[sse_endpoint("/ask", method = POST)]
async fn ask(headers: HeaderMap, Json(ask): Json<Ask>) -> impl Stream<Item = Answer> {
    yield_!(Answer::Token { text: ask.prompt });
    let note = headers.get("x-note").map(|note| note.as_bytes().to_vec());
    let note = note.unwrap_or_default();
    yield_!(Answer::Token {
        text: String::from_utf8_lossy(&note).into_owned()
    });
    yield_!(Answer::Finished);
}

/// Repeats the fields of a form.
#[sse_endpoint("/form", method = POST)]
async fn form(headers: HeaderMap, Form(ask): Form<Ask>) -> impl Stream<Item = Answer> {
    yield_!(Answer::Token { text: ask.prompt });
    let mode = headers.get("x-mode").map(|mode| mode.as_bytes().to_vec());
    let mode = mode.unwrap_or_default();
    yield_!(Answer::Token {
        text: String::from_utf8_lossy(&mode).into_owned()
    });
    yield_!(Answer::Finished);
}

/// Sends an event that the document does not mention, and then fails.
#[sse_endpoint("/fails")]
async fn fails() -> impl Stream<Item = Result<u32, AskError>> {
    yield_!(Event::json(&1).event("number"));
    yield_!(Event::json(&2).event("surprise"));
    return Err(AskError::Busy { after: 3 });
}

/// Counts to 5,000.
#[sse_endpoint("/many")]
async fn many() -> impl Stream<Item = u32> {
    for number in 1..=5000 {
        yield_!(number);
    }
    std::future::pending::<()>().await;
}

/// All kinds of line breaks, and fields to ignore. The last event is incomplete.
pub(super) const RAW: &str = ": a comment\r\nevent: lost\r\rdata: one\r\ndata:  two €😀\r\r\nid: a\0b\nretry: 1s\revent:named:\nid:7\ndata\n\nid\r\n\r\ndata: cut";

/// Sends a byte order mark and `RAW`, byte by byte.
async fn raw() -> Response {
    let bytes = format!("\u{feff}{RAW}").into_bytes();
    let bytes = tokio_stream::iter(
        bytes
            .into_iter()
            .map(|byte| Ok::<_, Infallible>(vec![byte])),
    );
    let body = Body::from_stream(bytes);
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// The parts of the document that do not come from `Api`: a stream that the framework does not send,
/// a header parameter, and an endpoint that breaks its contract.
fn written_by_hand() -> Value {
    let event = |name: &str, data: Value| {
        json!({
            "type": "object",
            "required": ["event", "data"],
            "properties": { "event": { "type": "string", "const": name }, "id": { "type": "string" }, "data": data },
        })
    };
    let encoded = |schema: Value| json!({ "type": "string", "contentMediaType": "application/json", "contentSchema": schema });
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let stream = |names: &[&str]| {
        let branches: Vec<Value> = names.iter().map(|name| reference(name)).collect();
        json!({ "description": "Events.", "content": { "text/event-stream": { "itemSchema": { "oneOf": branches } } } })
    };
    json!({
        "openapi": "3.2.0",
        "info": { "title": "Chat", "version": "1.0.0" },
        "paths": {
            "/form": { "post": {
                "operationId": "form",
                "summary": "Repeats a form.",
                "parameters": [{ "name": "X-Mode", "in": "header", "schema": { "enum": ["fast", "slow"], "default": "slow" } }],
                "requestBody": { "content": { "application/x-www-form-urlencoded": { "schema": reference("Ask") } } },
                "responses": { "200": stream(&["form.token", "form.finished"]) },
            } },
            "/fails": { "get": {
                "operationId": "fails",
                "summary": "Fails after two events.",
                "responses": { "200": stream(&["fails.number", "fails.error"]) },
            } },
            "/raw": { "get": {
                "operationId": "raw",
                "summary": "Sends all kinds of line breaks.",
                "responses": { "200": { "description": "Text.", "content": { "text/event-stream": { "itemSchema": {
                    "type": "object", "properties": { "data": { "type": "string" } },
                } } } } },
            } },
        },
        "components": { "schemas": {
            "form.token": {
                "type": "object",
                "description": "A piece of the answer.",
                "required": ["event", "data"],
                "properties": {
                    "event": { "type": "string", "const": "token" },
                    "id": { "type": "string" },
                    "retry": { "type": "integer", "minimum": 0 },
                    "data": encoded(json!({ "type": "object", "required": ["text"], "properties": { "text": { "type": "string" } } })),
                },
            },
            "form.finished": event("finished", json!({ "type": "string", "const": "" })),
            "fails.error": event("error", encoded(reference("Busy"))),
            "fails.number": event("number", encoded(json!({ "type": "integer" }))),
            "Busy": {
                "type": "object",
                "required": ["title", "code", "status", "after"],
                "properties": { "title": { "type": "string" }, "code": { "const": "busy" }, "status": { "const": 429 }, "after": { "type": "integer", "minimum": 0 } },
            },
            "Ask": { "type": "object", "required": ["prompt"], "properties": { "prompt": { "type": "string" } } },
        } },
    })
}

/// Creates the app, which serves the endpoints, and the page for each document.
pub(super) async fn app(rooms: Rooms, programs: &Programs) -> Result<Router, String> {
    const FASTAPI: &str = include_str!("../../documents/fastapi.json");
    const ASPNET: &str = include_str!("../../documents/aspnet.json");
    const OTHERS: &str = include_str!("../../documents/others.json");

    let script = hash(programs, between("<script>", "</script>")?).await?;
    let style = hash(programs, between("<style>", "</style>")?).await?;
    let page = |document: &str, ancestors: &str| {
        let html = PAGE.replace("{{document}}", document);
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors {ancestors}"
        );
        get(async move || -> Response {
            ([(header::CONTENT_SECURITY_POLICY, policy)], Html(html)).into_response()
        })
    };
    let json = |text: &'static str| get(([(header::CONTENT_TYPE, "application/json")], text));
    let api = Api::new("Chat", "1.0.0");
    let described = api.clone();
    let document = get(async move || Json(described.extend(written_by_hand())));
    Ok(Router::new()
        .sse(api.of(answer))
        .sse(api.of(ask))
        .sse(api.of(many))
        .sse(form)
        .sse(fails)
        .route("/", api.explorer("/openapi.json"))
        // The tests show the page on a narrow screen by putting it into a frame.
        .route("/framed", page("/openapi.json", "'self'"))
        .route("/fastapi", page("/fastapi.json", "'none'"))
        .route("/aspnet", page("/aspnet.json", "'none'"))
        .route("/others", page("/others.json", "'none'"))
        .route("/raw", get(raw))
        .route("/openapi.json", document)
        .route("/fastapi.json", json(FASTAPI))
        .route("/aspnet.json", json(ASPNET))
        .route("/others.json", json(OTHERS))
        .route(
            "/empty",
            get(Html(
                "<!doctype html><link rel=icon href='data:,'><title>empty</title>",
            )),
        )
        .with_state(rooms))
}

/// Returns the page's only script or style.
fn between(start: &str, end: &str) -> Result<&'static str, String> {
    let mut parts = PAGE.split(start).skip(1);
    match (
        parts.next().and_then(|rest| rest.split_once(end)),
        parts.next(),
    ) {
        (Some((text, _)), None) => Ok(text),
        _ => Err(format!("the page does not have exactly one {start}")),
    }
}

/// Returns the SHA-256 hash of a text in Base64.
async fn hash(programs: &Programs, text: &str) -> Result<String, String> {
    const SCRIPT: &str = "process.stdout.write(crypto.createHash('sha256').update(fs.readFileSync(0)).digest('base64'))";
    let mut node = Command::new(&programs.node);
    let node = node
        .args(["-e", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut node = node.kill_on_drop(true).spawn().map_err(to_text)?;
    let mut stdin = node.stdin.take().ok_or("no standard input")?;
    stdin.write_all(text.as_bytes()).await.map_err(to_text)?;
    drop(stdin);
    let output = node.wait_with_output().await.map_err(to_text)?;
    String::from_utf8(output.stdout).map_err(to_text)
}
