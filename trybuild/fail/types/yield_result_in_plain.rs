use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    yield_!("1".parse::<u32>());
}

fn main() {
    let _ = ticks();
}
