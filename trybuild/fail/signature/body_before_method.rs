use axum::{Json, Router, http::Method};
use sse_runtime::{SseRouterExt, Stream, sse_endpoint};

#[sse_endpoint("/ticks", method = POST)]
async fn ticks(Json(first): Json<u32>, _: Method) -> impl Stream<Item = u32> {
    yield_!(first);
}

fn main() {
    let _: Router = Router::new().sse(ticks);
}
