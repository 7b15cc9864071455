use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = Vec<u32>> {
    yield_!((0..3).collect());
}

fn main() {
    let _ = ticks();
}
