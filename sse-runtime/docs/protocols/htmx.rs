//! htmx.

use std::time::Duration;

use axum::{
    Router,
    extract::{Path, Query, State},
    response::Html,
};
use html_escape::encode_text;
use serde::Deserialize;
use sse_runtime::{
    Hub, LastEventId, SseRouterExt as _, Stream, Topic, sse_endpoint,
    topic::{HubError, PublishError},
};
use tokio_stream::StreamExt as _;

use super::model::{Answer, Model};

#[derive(Clone)]
struct Page {
    model: Model,
    answers: Hub<Html<String>>,
}

#[derive(Deserialize)]
struct Question {
    question: String,
}

/// Streams an answer as fragments of HTML. The page's server chooses a random id for each question.
#[sse_endpoint("/answers/{id}", retry = "1s")]
async fn answer(
    State(page): State<Page>,
    Path(id): Path<String>,
    Query(Question { question }): Query<Question>,
    last: LastEventId,
) -> Result<impl Stream<Item = Html<String>>, HubError> {
    let run = |fragments| write(page.model.answer(question), fragments);
    let answer = page.answers.spawn(&id, last, run).await?;
    // The stream ends with `done`.
    yield_all!(answer);
}

/// Publishes an answer, piece by piece.
async fn write(mut answer: Answer, fragments: Topic<Html<String>>) -> Result<(), PublishError> {
    while let Some(piece) = answer.next().await {
        let fragment = match piece {
            Ok(text) => format!("<span>{}</span>", encode_text(&text)),
            Err(error) => format!("<em>{}</em>", encode_text(&error.to_string())),
        };
        fragments.publish(&Html(fragment)).await?;
    }
    Ok(())
}

pub(crate) fn app(model: Model) -> Router {
    let answers = Hub::builder(|| Topic::builder().keep(10_000))
        // How long an answer continues without a reader, for example while a page reconnects.
        .abandon_after(Duration::from_secs(10))
        .build();
    Router::new()
        .sse(answer)
        .with_state(Page { model, answers })
}
