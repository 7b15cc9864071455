use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = String> {
    yield_!(String::new());
    std::ops::Range { start: 1, end: 2 }
}

fn main() {
    let _ = ticks();
}
