use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks", crate = super::sse)]
async fn ticks() -> impl Stream<Item = u32> {
    yield_!(1);
}

fn main() {}
