use sse_runtime::{Stream, sse_endpoint};

struct Tick;

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = Vec<Tick>> {
    yield_!(vec![Tick]);
    yield_!(vec![]);
}

fn main() {
    let _ = ticks();
}
