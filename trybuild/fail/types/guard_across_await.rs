use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    let mutex = std::sync::Mutex::new(1);
    let guard = mutex.lock().unwrap();
    tokio::task::yield_now().await;
    yield_!(*guard);
}

fn main() {
    let _ = ticks();
}
