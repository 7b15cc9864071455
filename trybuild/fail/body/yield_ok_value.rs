use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = Result<u32, String>> {
    let tick = "1".parse::<u32>().map_err(|error| error.to_string());
    yield_!(tick);
}

fn main() {
    let _ = ticks();
}
