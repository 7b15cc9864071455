//! Datastar.

use axum::{Json, Router, extract::State};
use serde::Deserialize;
use serde_json::json;
use sse_runtime::{SseEvent, SseRouterExt as _, Stream, sse_endpoint};
use tokio_stream::StreamExt as _;

use super::model::{Model, ModelError};

/// The signals that the page sends.
#[derive(Deserialize)]
struct Signals {
    question: String,
}

/// Sets signals of the page.
#[derive(SseEvent)]
#[sse(event = "datastar-patch-signals", text)]
struct PatchSignals(String);

impl PatchSignals {
    fn answer(answer: &str) -> Self {
        Self(format!("signals {}", json!({ "answer": answer })))
    }
}

impl From<ModelError> for PatchSignals {
    fn from(error: ModelError) -> Self {
        Self(format!("signals {}", json!({ "error": error.to_string() })))
    }
}

/// Answers a question that the page sends with `@post('/answer')`. An element with
/// `data-text="$answer"` shows the answer, and one with `data-text="$error"` the error.
#[sse_endpoint("/answer", method = POST)]
async fn answer(
    State(model): State<Model>,
    Json(signals): Json<Signals>,
) -> impl Stream<Item = Result<PatchSignals, PatchSignals>> {
    let mut pieces = model.answer(signals.question);
    let mut answer = String::new();
    while let Some(piece) = pieces.try_next().await? {
        answer.push_str(&piece);
        yield_!(PatchSignals::answer(&answer));
    }
}

pub(crate) fn app(model: Model) -> Router {
    Router::new().sse(answer).with_state(model)
}
