use sse_runtime::{Stream, sse_endpoint};

type Outcome = Result<u32, String>;

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = Outcome> {
    yield_!(Ok(1));
}

fn main() {
    let _ = ticks();
}
