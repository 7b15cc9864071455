use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = Result<u32, String>> {
    yield_all!(vec![1]);
}

fn main() {
    let _ = ticks();
}
