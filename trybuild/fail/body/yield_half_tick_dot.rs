use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    let tick = 1;
    yield_!(tick.);
}

fn main() {
    let _ = ticks();
}
