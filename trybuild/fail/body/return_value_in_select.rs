use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    tokio::select! {
        () = tokio::task::yield_now() => return 2,
    }
    #[allow(unreachable_code)]
    yield_!(1);
}

fn main() {
    let _ = ticks();
}
