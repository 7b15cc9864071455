use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    let one = 1;
    let handle = tokio::spawn(async { one });
    yield_!(handle.await.unwrap());
}

fn main() {
    let _ = ticks();
}
