use axum::Router;
use sse_runtime::{SseRouterExt, Stream, sse_endpoint};

#[sse_endpoint("/ticks", method = POST)]
async fn ticks(body: String, _: axum::http::Method) -> impl Stream<Item = u32> {
    yield_!(body.len() as u32);
}

fn main() {
    let _: Router = Router::new().sse(ticks);
}
