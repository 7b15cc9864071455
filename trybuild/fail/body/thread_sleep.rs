#![deny(deprecated)]
use std::time::Duration;

use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    std::thread::sleep(Duration::from_secs(1));
    yield_!(1);
}

fn main() {}
