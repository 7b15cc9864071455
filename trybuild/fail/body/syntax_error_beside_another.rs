use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    let tick = ;
    yield_!(1);
}

fn main() {
    let _ = ticks();
    let _: u32 = "the compiler still sees this";
}
