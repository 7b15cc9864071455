use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks", method = QUERY)]
async fn ticks() -> impl Stream<Item = u32> {
    yield_!(1);
}

fn main() {}
