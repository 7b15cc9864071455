use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    let later = async { yield_!(1) };
    later.await;
}

fn main() {
    let _ = ticks();
}
