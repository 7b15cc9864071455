use sse_runtime::{Stream, relay, sse_endpoint};

#[sse_endpoint("/chat")]
async fn chat() -> impl Stream<Item = String> {
    let mut events = relay(tokio_stream::iter([axum::body::Bytes::new()])).abort_on_error();
    while let Some(event) = events.next().await {
        yield_!(event);
    }
}

fn main() {}
