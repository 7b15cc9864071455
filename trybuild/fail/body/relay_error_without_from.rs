use axum::body::Body;
use sse_runtime::{Stream, relay, sse_endpoint};

#[derive(serde::Serialize)]
struct Failure;

#[sse_endpoint("/chat")]
async fn chat(body: Body) -> impl Stream<Item = Result<String, Failure>> {
    yield_all!(relay(body.into_data_stream()));
}

fn main() {}
