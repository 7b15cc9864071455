use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = Result<u32, String>> {
    tokio::select! {
        () = tokio::task::yield_now() => return Ok(()),
    }
    #[allow(unreachable_code)]
    yield_!(1);
}

fn main() {
    let _ = ticks();
}
