use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = String> {
    yield_!("one".into());
}

fn main() {
    let _ = ticks();
}
