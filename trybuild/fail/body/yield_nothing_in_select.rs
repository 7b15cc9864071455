use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    tokio::select! {
        () = tokio::task::yield_now() => yield_!(),
    }
}

fn main() {
    let _ = ticks();
}
