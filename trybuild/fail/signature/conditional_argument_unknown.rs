#![deny(unexpected_cfgs)]
use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks(#[cfg(widnows)] _: Method) -> impl Stream<Item = u32> {
    yield_!(1);
}

fn main() {
    let _ = ticks();
}
