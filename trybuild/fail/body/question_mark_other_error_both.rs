use axum::http::StatusCode;
use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> Result<impl Stream<Item = Result<u32, String>>, StatusCode> {
    let one: u32 = "1".parse()?;
    yield_!(one);
}

fn main() {
    let _ = ticks();
}
