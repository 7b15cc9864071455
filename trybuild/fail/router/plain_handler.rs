use axum::Router;
use sse_runtime::SseRouterExt;

async fn ticks() -> &'static str {
    "ticks"
}

fn main() {
    let _: Router = Router::new().sse(ticks);
}
