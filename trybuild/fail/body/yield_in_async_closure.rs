use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    let later = async |tick| yield_!(tick);
    later(1).await;
}

fn main() {
    let _ = ticks();
}
