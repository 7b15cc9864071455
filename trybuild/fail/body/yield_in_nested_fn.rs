use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    async fn helper() {
        yield_!(1);
    }
    helper().await;
}

fn main() {
    let _ = ticks();
}
