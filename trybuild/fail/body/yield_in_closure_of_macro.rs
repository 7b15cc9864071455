use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    assert!([1].iter().all(|tick| { yield_!(*tick); true }));
}

fn main() {
    let _ = ticks();
}
