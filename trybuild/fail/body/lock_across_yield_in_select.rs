#![deny(warnings)]
use sse_runtime::{Stream, sse_endpoint};
use tokio::sync::Mutex;

#[sse_endpoint("/ticks")]
pub async fn ticks() -> impl Stream<Item = u32> {
    let lock = Mutex::new(1);
    let guard = lock.lock().await;
    tokio::select! { () = async {} => yield_!(*guard) }
}

fn main() {}
