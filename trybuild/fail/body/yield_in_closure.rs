use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    (0..3).for_each(|tick| yield_!(tick));
}

fn main() {
    let _ = ticks();
}
