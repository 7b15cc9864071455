use sse_runtime::sse_endpoint;

#[sse_endpoint("/ticks")]
async fn ticks() -> Vec<u32> {
    yield_!(1);
}

fn main() {}
