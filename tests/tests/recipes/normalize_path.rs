//! Trailing slashes.

use axum::{Router, extract::MatchedPath};
use sse_runtime::{Stream, sse_endpoint};
use support::{Client, SseRouterExt as _, serve};
use tower_http::normalize_path::NormalizePathLayer;
use tower_layer::Layer as _;

#[sse_endpoint("/clock")]
async fn clock(path: MatchedPath) -> impl Stream<Item = String> {
    yield_!(path.as_str().to_owned());
}

fn inner() -> Router {
    Router::new().sse(clock)
}

fn app() -> Router {
    let app = NormalizePathLayer::trim_trailing_slash().layer(inner());
    Router::new().fallback_service(app)
}

async fn status_line(app: Router, path: &str) -> String {
    let mut client = Client::get(serve(app).await, path).await;
    client.head().await.status_line
}

#[tokio::test]
async fn path_with_a_trailing_slash_is_normalized() {
    for path in ["/clock", "/clock/"] {
        let mut client = Client::get(serve(app()).await, path).await;
        assert_eq!(client.head().await.status_line, "HTTP/1.1 200 OK");
        assert_eq!(client.expect_chunk().await, "data: \"/clock\"\n\n");
    }
}

/// A layer of the router runs after the route has been chosen.
#[tokio::test]
async fn layer_of_the_router_is_too_late() {
    let app = inner().layer(NormalizePathLayer::trim_trailing_slash());
    assert_eq!(status_line(app, "/clock/").await, "HTTP/1.1 404 Not Found");
}
