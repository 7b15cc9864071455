use axum::{body::Body, http::StatusCode};
use sse_runtime::{Stream, first_ok, relay, sse_endpoint};

#[sse_endpoint("/chat")]
async fn chat() -> Result<impl Stream<Item = Result<u32, String>>, StatusCode> {
    let upstream = relay(Body::empty().into_data_stream()).try_map(Ok::<_, String>);
    let events = first_ok(upstream).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    yield_all!(events);
}

fn main() {}
