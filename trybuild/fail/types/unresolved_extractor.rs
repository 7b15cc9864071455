use sse_runtime::{SseRouterExt, Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks(clock: Clock) -> impl Stream<Item = u32> {
    yield_!(clock.now());
}

fn main() {
    let _: axum::Router = axum::Router::new().sse(ticks);
}
