use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = Tick> {
    tokio::task::yield_now().await;
    yield_all!(tokio_stream::empty());
}

fn main() {
    let _ = ticks();
}
