use sse_runtime::{Stream, sse_endpoint};

#[tracing::instrument(err)]
#[sse_endpoint("/ticks")]
async fn ticks() -> Result<impl Stream<Item = u32>, &'static str> {
    yield_!(Err("late")?);
}

fn main() {
    let _ = ticks();
}
