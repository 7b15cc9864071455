use axum::Router;
use sse_runtime::{SseRouterExt, Stream, sse_endpoint};

struct Clock;

#[sse_endpoint("/ticks")]
async fn ticks(#[cfg(not(windows))] _: Clock) -> impl Stream<Item = u32> {
    yield_!(1);
}

fn main() {
    let _: Router = Router::new().sse(ticks);
}
