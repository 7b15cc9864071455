use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    let rc = std::rc::Rc::new(1);
    yield_!(2);
    yield_!(*rc);
}

fn main() {
    let _ = ticks();
}
