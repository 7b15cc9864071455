use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = Result<u32, String>> {
    yield_!(1);
    yield_!(Err("late".to_owned()));
}

fn main() {
    let _ = ticks();
}
