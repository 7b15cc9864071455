use axum::body::Body;
use sse_runtime::{Stream, relay, sse_endpoint};

#[sse_endpoint("/chat")]
async fn chat(body: Body) -> impl Stream<Item = String> {
    let mut events = relay(body).abort_on_error();
    while let Some(event) = events.next().await {
        yield_!(event);
    }
}

fn main() {}
