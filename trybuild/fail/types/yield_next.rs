use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    let mut ticks = sse_runtime::Topic::<u32>::in_memory(8)
        .subscribe(sse_runtime::Start::Now);
    yield_!(ticks.next().await);
}

fn main() {
    let _ = ticks();
}
