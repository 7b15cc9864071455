use sse_runtime::{SseRouterExt, Stream, sse_endpoint};

#[sse_endpoint("ticks", keepalive = "15s", retry = 3)]
async fn ticks() -> impl Stream<Item = u32> {
    yield_!(1);
}

pub fn app() -> axum::Router {
    axum::Router::new().sse(ticks)
}

fn main() {}
