use axum::Router;
use sse_runtime::{SseRouterExt, Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    yield_!(1);
}

fn main() {
    let _: Router = Router::new().sse(ticks().layer(1));
}
