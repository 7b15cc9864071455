use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> Result<impl Stream<Item = u32>, String> {
    yield_!(1);
    let two = "2".parse::<u32>().map_err(|_| String::new())?;
    yield_!(two);
}

fn main() {
    let _ = ticks();
}
