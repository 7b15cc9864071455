use sse_runtime::sse_endpoint;

#[sse_endpoint("/ticks")]
async fn ticks() -> Result<u32, String> {
    yield_!(1);
}

fn main() {}
