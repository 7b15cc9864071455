use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks(body: &str) -> impl Stream<Item = usize> {
    yield_!(body.len());
}

fn main() {}
