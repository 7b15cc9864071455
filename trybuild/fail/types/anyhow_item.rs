use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = anyhow::Result<u32>> {
    let one: u32 = "1".parse()?;
    yield_!(one);
}

fn main() {
    let _ = ticks();
}
