use axum::Router;
use sse_runtime::{SseRouterExt, Stream, sse_endpoint};

use axum::extract::State;

#[sse_endpoint("/ticks")]
async fn ticks(State(n): State<u32>) -> impl Stream<Item = u32> {
    yield_!(n);
}

fn main() {
    let _: Router = Router::new().sse(ticks).with_state("one");
}
