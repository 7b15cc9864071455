use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/chat", events = "own", end = "stop")]
async fn chat() -> impl Stream<Item = u8> {
    yield_!(1);
}

fn main() {}
