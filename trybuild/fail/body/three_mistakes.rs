use sse_runtime::{SseRouterExt, Stream, sse_endpoint};

#[sse_endpoint("/ticks")]
async fn ticks() -> impl Stream<Item = u32> {
    yield_!();
    "1".parse::<u32>()?;
    return 2;
}

fn main() {
    let _: axum::Router = axum::Router::new().sse(ticks);
}
