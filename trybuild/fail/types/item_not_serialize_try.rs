use sse_runtime::{Stream, sse_endpoint};

struct Tick;

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = Result<Tick, String>> {
    yield_!(Tick);
    yield_!(&Tick);
    yield_!(Tick);
}

fn main() {
    let _ = ticks();
}
