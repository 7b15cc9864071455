use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> anyhow::Result<impl Stream<Item = u32>> {
    let one: u32 = "1".parse()?;
    yield_!(one);
}

fn main() {
    let _ = ticks();
}
