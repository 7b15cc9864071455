use axum::Router;
use sse_runtime::RouterExt;

async fn ticks() -> &'static str {
    "ticks"
}

fn main() {
    let _: Router = Router::new().sse(ticks);
}
