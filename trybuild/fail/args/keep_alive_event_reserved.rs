#![deny(warnings)]
use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks", keep_alive_event = "error")]
pub async fn ticks() -> impl Stream<Item = u32> {
    yield_!(1);
}

fn main() {
    let _ = ticks();
}
