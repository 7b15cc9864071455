use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    let (_sender, receiver) = tokio::sync::mpsc::channel::<u32>(1);
    yield_all!(receiver);
}

fn main() {
    let _ = ticks();
}
