//! The UI message stream of Vercel's AI SDK.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::HeaderValue,
    middleware::map_response,
    response::Response,
};
use serde::{Deserialize, Serialize};
use sse_runtime::{
    Event, Hub, SseRouterExt as _, Start, Stream, Topic, sse_endpoint, topic::HubError,
};
use tokio_stream::StreamExt as _;
use uuid::Uuid;

use super::model::{Answer, Model};

#[derive(Deserialize)]
struct Request {
    id: String,
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    parts: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    text: String,
}

#[derive(Clone, Serialize)]
#[serde(
    tag = "type",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
enum Chunk {
    Start,
    TextStart { id: &'static str },
    TextDelta { id: &'static str, delta: String },
    TextEnd { id: &'static str },
    Finish,
    Error { error_text: String },
}

impl<E: std::error::Error> From<E> for Chunk {
    fn from(error: E) -> Self {
        let error_text = error.to_string();
        Self::Error { error_text }
    }
}

#[derive(Clone)]
struct Chats {
    model: Model,
    answers: Hub<Chunk>,
    /// The name of the newest answer of each chat. Store it with the chat, if chats are stored.
    newest: Arc<Mutex<HashMap<String, String>>>,
}

impl Chats {
    fn newest(&self, chat: &str) -> Option<String> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.get(chat).cloned()
    }

    /// Returns the name of the chat's previous answer.
    fn replace(&self, chat: String, answer: String) -> Option<String> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.insert(chat, answer)
    }
}

/// Answers the last message of a chat. The answer continues if the client disconnects.
#[sse_endpoint("/api/chat", method = POST)]
async fn chat(
    State(chats): State<Chats>,
    Json(request): Json<Request>,
) -> Result<impl Stream<Item = Chunk>, HubError> {
    let question = request.messages.iter().last();
    let parts = question.iter().flat_map(|message| &message.parts);
    let answer = chats
        .model
        .answer(parts.map(|part| part.text.as_str()).collect());
    let name = Uuid::new_v4().to_string();
    if let Some(previous) = chats.replace(request.id, name.clone()) {
        chats.answers.abort(&previous).await?;
    }
    let run = |topic| write(answer, topic);
    let answer = chats.answers.spawn(&name, Start::First, run).await?;
    yield_all!(answer);
    yield_!(Event::text("[DONE]"));
}

/// Publishes an answer, chunk by chunk.
async fn write(mut answer: Answer, chunks: Topic<Chunk>) -> Result<(), Chunk> {
    let id = "answer";
    chunks.publish(&Chunk::Start).await?;
    chunks.publish(&Chunk::TextStart { id }).await?;
    while let Some(delta) = answer.try_next().await? {
        chunks.publish(&Chunk::TextDelta { id, delta }).await?;
    }
    chunks.publish(&Chunk::TextEnd { id }).await?;
    chunks.publish(&Chunk::Finish).await?;
    Ok(())
}

/// Streams a chat's current answer from the beginning. If no answer is being written, the response
/// is a `204`.
#[sse_endpoint(
    "/api/chat/{id}/stream",
    events = "own",
    on_cut = "abort",
    on_shutdown = "finish"
)]
async fn resume(
    State(chats): State<Chats>,
    Path(id): Path<String>,
) -> Result<impl Stream<Item = Chunk>, HubError> {
    let Some(name) = chats.newest(&id) else {
        return;
    };
    let topic = chats.answers.get(&name);
    if topic.is_none_or(|topic| topic.is_finished()) {
        return;
    }
    let Some(answer) = chats.answers.resume(&name, Start::First).await? else {
        return;
    };
    yield_all!(answer);
    yield_!(Event::text("[DONE]"));
}

/// Marks a response as a UI message stream.
async fn mark(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(
        "x-vercel-ai-ui-message-stream",
        HeaderValue::from_static("v1"),
    );
    response
}

pub(crate) fn app(model: Model) -> Router {
    let answers = Hub::builder(|| Topic::builder().keep(10_000))
        // How long an answer continues without a reader, for example while a page is reloaded.
        .abandon_after(Duration::from_secs(10));
    let chats = Chats {
        model,
        answers: answers.build(),
        newest: Arc::default(),
    };
    Router::new()
        .sse(chat)
        .sse(resume)
        .layer(map_response(mark))
        .with_state(chats)
}
