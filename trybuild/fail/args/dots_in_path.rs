use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/rooms/../prices")]
async fn ticks() -> impl Stream<Item = u32> {
    yield_!(1);
}

fn main() {}
