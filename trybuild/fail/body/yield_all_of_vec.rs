use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    yield_all!(vec![1]);
}

fn main() {
    let _ = ticks();
}
