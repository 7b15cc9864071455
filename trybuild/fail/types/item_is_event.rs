use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = sse_runtime::Event<u32>> {
    yield_!(sse_runtime::Event::json(1));
}

fn main() {}
