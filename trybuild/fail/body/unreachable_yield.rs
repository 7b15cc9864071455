#![deny(unreachable_code)]
use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    loop {
        tokio::task::yield_now().await;
    }
    yield_!(1);
}

fn main() {
    let _ = ticks();
}
