#![deny(warnings)]
use sse_runtime::{Stream, sse_endpoint};
use tokio::sync::RwLock;

#[sse_endpoint("/ticks")]
pub async fn ticks() -> impl Stream<Item = u32> {
    let lock = RwLock::new(vec![1]);
    for tick in lock.read().await.iter() {
        yield_!(tick);
    }
}

fn main() {}
