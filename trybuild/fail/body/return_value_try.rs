use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = Result<u32, String>> {
    yield_!(1);
    return 2;
}

fn main() {
    let _ = ticks();
}
