use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = axum::Json<u32>> {
    yield_!(axum::Json(1));
}

fn main() {}
