use axum::body::Bytes;
use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks(name: String, data: Bytes) -> impl Stream<Item = u32> {
    yield_!(name.len() as u32 + data.len() as u32);
}

fn main() {}
