#![deny(deprecated)]
use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ready")]
async fn ready() -> impl Stream<Item = u32> {
    let runtime = tokio::runtime::Handle::current();
    yield_!(runtime.block_on(async { 1 }));
}

fn main() {}
