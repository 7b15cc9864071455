use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = sse_runtime::Event> {
    yield_!(sse_runtime::Event::text("1"));
}

fn main() {}
