use axum::extract::Path;
use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks(Path(a): Path<u32>, Path(b): Path<u32>) -> impl Stream<Item = u32> {
    yield_!(a + b);
}

fn main() {}
