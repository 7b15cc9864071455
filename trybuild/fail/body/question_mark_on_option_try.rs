use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = Result<u32, String>> {
    let one = [1].first().copied()?;
    yield_!(one);
}

fn main() {
    let _ = ticks();
}
