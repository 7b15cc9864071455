use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    let parse = |text: &str| text.parse::<u32>()?;
    yield_!(parse("1"));
}

fn main() {
    let _ = ticks();
}
