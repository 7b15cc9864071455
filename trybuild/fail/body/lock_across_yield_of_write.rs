#![deny(warnings)]
use sse_runtime::{Stream, sse_endpoint};
use tokio::sync::RwLock;

#[sse_endpoint("/ticks")]
pub async fn ticks() -> impl Stream<Item = u32> {
    let lock = RwLock::new(1);
    let mut guard = lock.write().await;
    *guard += 1;
    yield_!(*guard);
}

fn main() {}
