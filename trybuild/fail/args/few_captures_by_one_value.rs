#![deny(deprecated)]
use axum::extract::Path;
use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/rooms/{room}/{seat}")]
async fn seat(Path(room): Path<u32>) -> impl Stream<Item = u32> {
    yield_!(room);
}

fn main() {}
