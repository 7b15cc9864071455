use sse_runtime::{Event, Stream, sse_endpoint};

#[derive(serde::Serialize)]
struct Tick;
struct Tock;

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = Tick> {
    yield_!(Event::json(Tock));
}

fn main() {
    let _ = ticks();
}
