use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/clock", head_after = "10s")]
async fn clock() -> impl Stream<Item = u64> {
    yield_!(1);
}

fn main() {
    clock();
}
