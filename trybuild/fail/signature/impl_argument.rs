use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks(value: impl Clone) -> impl Stream<Item = u32> {
    yield_!(1);
}

fn main() {}
