#![deny(deprecated)]
use axum::Json;
use sse_runtime::{Stream, sse_endpoint};

#[derive(serde::Deserialize)]
struct Question(u32);

#[sse_endpoint("/answers")]
async fn answers(Json(question): Json<Question>) -> impl Stream<Item = u32> {
    yield_!(question.0);
}

fn main() {}
