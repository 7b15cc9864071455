#![deny(unreachable_code)]
use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    loop {
        yield_!(1);
    }
    tokio::task::yield_now().await;
}

fn main() {
    let _ = ticks();
}
