use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> Result<impl Stream<Item = u32>, String> {
    yield_!(1);
    return Err("late".to_owned());
}

fn main() {
    let _ = ticks();
}
