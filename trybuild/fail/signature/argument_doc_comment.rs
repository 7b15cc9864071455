use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks(
    /// Which one it is.
    method: axum::http::Method,
) -> impl Stream<Item = u32> {
    yield_!(method.as_str().len() as u32);
}

fn main() {}
