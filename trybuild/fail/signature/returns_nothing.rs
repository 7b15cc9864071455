use sse_runtime::sse_endpoint;

#[sse_endpoint("/ticks")]
async fn ticks() {
    yield_!(1);
}

fn main() {}
