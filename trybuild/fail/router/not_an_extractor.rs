use axum::Router;
use sse_runtime::{SseRouterExt, Stream, sse_endpoint};

struct Clock(u32);

#[sse_endpoint("/ticks")]
async fn ticks(clock: Clock) -> impl Stream<Item = u32> {
    yield_!(clock.0);
}

fn main() {
    let _: Router = Router::new().sse(ticks);
}
