use axum::http::StatusCode;
use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> Result<impl Stream<Item = Result<u32, String>>, StatusCode> {
    yield_!(1);
    return Err(2);
}

fn main() {
    let _ = ticks();
}
