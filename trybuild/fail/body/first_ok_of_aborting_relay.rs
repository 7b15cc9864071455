use axum::{body::Body, http::StatusCode};
use sse_runtime::{Stream, first_ok, relay, sse_endpoint};

#[sse_endpoint("/chat")]
async fn chat(body: Body) -> Result<impl Stream<Item = String>, StatusCode> {
    let upstream = relay(body.into_data_stream()).abort_on_error();
    let events = first_ok(upstream).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    yield_all!(events);
}

fn main() {}
