use sse_runtime::sse_endpoint;

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Send {
    yield_!(1);
}

fn main() {}
