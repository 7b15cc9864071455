use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    yield_all!(tokio_stream::iter([Ok::<u32, u8>(1)]));
}

fn main() {
    let _ = ticks();
}
