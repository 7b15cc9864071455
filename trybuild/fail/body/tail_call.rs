use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    yield_!(1);
    u32::from(1_u8)
}

fn main() {
    let _ = ticks();
}
