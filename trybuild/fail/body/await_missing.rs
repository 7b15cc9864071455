use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    async fn next() -> u32 {
        1
    }
    yield_!(next());
}

fn main() {
    let _ = ticks();
}
