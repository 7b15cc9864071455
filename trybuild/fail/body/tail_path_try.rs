use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = Result<u32, String>> {
    let tick = 1;
    yield_!(tick);
    tick
}

fn main() {
    let _ = ticks();
}
