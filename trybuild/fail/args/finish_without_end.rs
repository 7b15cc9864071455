#![deny(warnings)]

use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks", on_shutdown = "finish")]
pub async fn ticks() -> impl Stream<Item = u32> {
    loop {
        yield_!(1);
    }
}

fn main() {}
