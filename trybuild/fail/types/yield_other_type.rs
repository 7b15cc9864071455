use sse_runtime::{Stream, sse_endpoint};

#[derive(serde::Serialize)]
struct Tick;
struct Tock;

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = Tick> {
    yield_!(Tock);
}

fn main() {
    let _ = ticks();
}
