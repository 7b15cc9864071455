use sse_runtime::sse_endpoint;

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Iterator<Item = u32> {
    yield_!(1);
}

fn main() {}
