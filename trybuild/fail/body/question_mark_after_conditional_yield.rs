use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> Result<impl Stream<Item = u32>, &'static str> {
    #[cfg(not(windows))]
    yield_!(0);
    yield_!(Err::<u32, _>("late")?);
}

fn main() {
    let _ = ticks();
}
