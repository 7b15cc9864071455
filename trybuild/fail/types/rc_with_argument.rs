use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks(_: axum::http::Method) -> impl Stream<Item = u32> {
    let rc = std::rc::Rc::new(1);
    tokio::task::yield_now().await;
    yield_!(*rc);
}

fn main() {
    let _ = ticks();
}
