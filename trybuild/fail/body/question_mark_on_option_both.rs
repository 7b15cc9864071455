use axum::http::StatusCode;
use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> Result<impl Stream<Item = Result<u32, String>>, StatusCode> {
    let one = [1].first().copied()?;
    yield_!(one);
}

fn main() {
    let _ = ticks();
}
