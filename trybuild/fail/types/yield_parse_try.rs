use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = Result<u32, u8>> {
    yield_!("1".parse().map_err(|_| 1)?);
}

fn main() {
    let _ = ticks();
}
