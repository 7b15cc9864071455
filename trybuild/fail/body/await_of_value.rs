use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    let tick = 1.await;
    yield_!(tick);
}

fn main() {
    let _ = ticks();
}
