use sse_runtime::{Stream, sse_endpoint};

type RunResult = Result<u32, String>;

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = RunResult> {
    yield_!(Ok(1));
}

fn main() {
    let _ = ticks();
}
