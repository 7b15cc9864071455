use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    tokio::select! {
        tick = async { "1".parse::<u32>() } => yield_!(tick?),
    }
}

fn main() {
    let _ = ticks();
}
