#![deny(deprecated)]
use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/rooms/{room}")]
async fn room() -> impl Stream<Item = u32> {
    yield_!(1);
}

fn main() {}
