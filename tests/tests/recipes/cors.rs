//! CORS on a single endpoint.

use axum::{
    Router,
    http::{Method, header},
};
use sse_runtime::{Stream, sse_endpoint};
use support::{Client, Head, SseRouterExt as _, serve};
use test_case::test_case;
use tower_http::cors::CorsLayer;

const ORIGIN: &str = "https://page.example";

#[sse_endpoint("/answers", method = POST)]
async fn answers() -> impl Stream<Item = u64> {
    yield_!(1);
}

/// An endpoint of the same application that other origins may not read.
#[sse_endpoint("/private", method = POST)]
async fn private() -> impl Stream<Item = u64> {
    yield_!(1);
}

fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(["https://page.example".parse().unwrap()])
        .allow_methods([Method::POST])
        .allow_headers([header::CONTENT_TYPE, "last-event-id".parse().unwrap()])
        .expose_headers([header::RETRY_AFTER])
}

fn on_the_router() -> Router {
    Router::new().sse(answers).layer(cors())
}

fn on_the_path() -> Router {
    let answers = answers();
    Router::new()
        .route(
            answers.path(),
            answers.into_method_router::<(), _>().layer(cors()),
        )
        .sse(private)
}

fn on_a_merged_router() -> Router {
    Router::new()
        .merge(Router::new().sse(answers).layer(cors()))
        .sse(private)
}

fn on_the_endpoint() -> Router {
    Router::new().sse(answers().layer(cors())).sse(private)
}

/// Sends the preflight request that a browser sends before a `POST` with JSON.
async fn preflight(app: Router, path: &str) -> Head {
    let mut client = Client::connect(serve(app).await).await;
    let request = format!(
        "OPTIONS {path} HTTP/1.1\r\nhost: test\r\norigin: {ORIGIN}\r\n\
         access-control-request-method: POST\r\n\
         access-control-request-headers: content-type,last-event-id\r\n\r\n"
    );
    client.send(request.as_bytes()).await;
    client.head().await
}

/// Sends the request that follows the preflight.
async fn post(app: Router, path: &str) -> Head {
    let mut client = Client::connect(serve(app).await).await;
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\norigin: {ORIGIN}\r\ncontent-length: 0\r\n\r\n"
    );
    client.send(request.as_bytes()).await;
    client.head().await
}

#[test_case(on_the_router; "router")]
#[test_case(on_the_path; "path")]
#[test_case(on_a_merged_router; "merged router")]
#[tokio::test]
async fn cors_layer_answers_the_preflight(app: fn() -> Router) {
    let head = preflight(app(), "/answers").await;
    assert_eq!(head.status_line, "HTTP/1.1 200 OK");
    assert_eq!(head.get("access-control-allow-origin"), Some(ORIGIN));
    assert_eq!(head.get("access-control-allow-methods"), Some("POST"));
    assert_eq!(
        head.get("access-control-allow-headers"),
        Some("content-type,last-event-id")
    );

    let head = post(app(), "/answers").await;
    assert_eq!(head.status_line, "HTTP/1.1 200 OK");
    assert_eq!(head.get("access-control-allow-origin"), Some(ORIGIN));
    assert_eq!(
        head.get("access-control-expose-headers"),
        Some("retry-after")
    );
}

#[test_case(on_the_path; "path")]
#[test_case(on_a_merged_router; "merged router")]
#[tokio::test]
async fn cors_layer_does_not_open_other_endpoints(app: fn() -> Router) {
    let head = preflight(app(), "/private").await;
    assert_eq!(head.status_line, "HTTP/1.1 405 Method Not Allowed");
    let head = post(app(), "/private").await;
    assert_eq!(head.status_line, "HTTP/1.1 200 OK");
    assert_eq!(head.get("access-control-allow-origin"), None);
}

/// A layer on the endpoint sees only requests with the endpoint's method.
#[tokio::test]
async fn layer_on_the_endpoint_gets_no_preflight() {
    let head = preflight(on_the_endpoint(), "/answers").await;
    assert_eq!(head.status_line, "HTTP/1.1 405 Method Not Allowed");
    assert_eq!(head.get("access-control-allow-origin"), None);
    // The layer is active for requests with the endpoint's method.
    let head = post(on_the_endpoint(), "/answers").await;
    assert_eq!(head.get("access-control-allow-origin"), Some(ORIGIN));
}
