use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint(concat!("/ticks", "/{id}"))]
async fn ticks() -> impl Stream<Item = u32> {
    yield_!(1);
}

fn main() {
    let _ = ticks();
}
