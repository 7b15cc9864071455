#![deny(deprecated)]
use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    yield_!(1);
    let mut ticks = 0_u32;
    loop {
        ticks = ticks.wrapping_add(1);
    }
}

fn main() {}
