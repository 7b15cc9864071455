#![deny(warnings)]
use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks", error_event = "done")]
pub async fn ticks() -> impl Stream<Item = u32> {
    yield_!(1);
}

fn main() {
    let _ = ticks();
}
