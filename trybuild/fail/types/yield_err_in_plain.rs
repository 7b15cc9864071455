use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    yield_!(1);
    yield_!(Err("late"));
}

fn main() {
    let _ = ticks();
}
