use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> Result<impl Stream<Item = u32>, String> {
    let rc = std::rc::Rc::new(1);
    yield_!(*rc);
}

fn main() {
    let _ = ticks();
}
