use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    let one = [1].first()?;
    yield_!(one);
}

fn main() {
    let _ = ticks();
}
