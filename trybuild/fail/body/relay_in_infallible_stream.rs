use axum::body::Body;
use sse_runtime::{Stream, relay, sse_endpoint};

#[sse_endpoint("/chat")]
async fn chat(body: Body) -> impl Stream<Item = String> {
    yield_all!(relay(body.into_data_stream()));
}

fn main() {}
