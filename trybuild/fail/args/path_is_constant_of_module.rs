use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint(paths::TICKS, retry = "3s")]
async fn ticks() -> impl Stream<Item = u32> {
    yield_!(1);
}

fn main() {
    let _ = ticks();
}
