use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    Box::pin(async_stream::stream! {
        yield 1;
    })
}

fn main() {
    let _ = ticks();
}
