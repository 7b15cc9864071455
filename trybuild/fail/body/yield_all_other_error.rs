use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = Result<u32, String>> {
    yield_all!(tokio_stream::iter([Err::<u32, u8>(1)]));
}

fn main() {
    let _ = ticks();
}
