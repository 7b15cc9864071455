//! Endpoints combined with typical axum layers and routers.

use std::{future::pending, net::SocketAddr, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{FromRequestParts, State},
    http::{HeaderValue, Method, StatusCode, request::Parts},
    middleware::map_response,
    response::Response,
    routing::get,
};
use sse_runtime::{Stream, sse_endpoint, testing};
use tokio::sync::{mpsc, watch};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tower_http::{compression::CompressionLayer, timeout::TimeoutLayer};

use support::{Client, Generators, Head, SseRouterExt as _, log::Log, serve, within};

/// Yields the events that the test sends.
#[sse_endpoint("/events")]
async fn events(State(events): State<watch::Receiver<u32>>) -> impl Stream<Item = u32> {
    let mut events = events;
    loop {
        let event = *events.borrow_and_update();
        yield_!(event);
        if events.changed().await.is_err() {
            return;
        }
    }
}

/// Requests `path` and accepts compression.
async fn ask(addr: SocketAddr, path: &str) -> (Client, Head) {
    let mut client = Client::connect(addr).await;
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\naccept-encoding: gzip\r\n\r\n");
    client.send(request.as_bytes()).await;
    let head = client.head().await;
    (client, head)
}

fn assert_event_stream(head: &Head) {
    assert_eq!(head.status_line, "HTTP/1.1 200 OK");
    assert_eq!(
        head.get("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
}

#[tokio::test]
async fn compression_neither_encodes_nor_buffers_a_stream() {
    let (sender, receiver) = watch::channel(0);
    let app = Router::new()
        .sse(events)
        .route("/page", get(|| async { "a page. ".repeat(1000) }))
        .layer(CompressionLayer::new())
        .with_state(receiver);
    let addr = serve(app).await;

    // The layer is active.
    let (_, page) = ask(addr, "/page").await;
    assert_eq!(page.get("content-encoding"), Some("gzip"));

    let (mut client, head) = ask(addr, "/events").await;
    assert_event_stream(&head);
    assert_eq!(head.get("content-encoding"), None);
    assert_eq!(client.expect_chunk().await, "data: 0\n\n");
    for event in 1..10 {
        sender.send(event).unwrap();
        assert_eq!(client.expect_chunk().await, format!("data: {event}\n\n"));
    }
}

const LIMIT: Duration = Duration::from_millis(50);

/// Waits longer than the layer's timeout before responding.
#[sse_endpoint("/late")]
async fn late(State(generators): State<Generators>) -> Result<impl Stream<Item = u32>, StatusCode> {
    let _running = generators.enter();
    pending::<()>().await;
    yield_!(1);
}

/// Waits longer than the layer's timeout before each event.
#[sse_endpoint("/slow")]
async fn slow() -> impl Stream<Item = u32> {
    for event in 1..=3 {
        tokio::time::sleep(2 * LIMIT).await;
        yield_!(event);
    }
}

#[tokio::test]
async fn timeout_layer_does_not_end_a_stream() {
    let generators = Generators::new();
    let app = Router::new()
        .sse(slow)
        .sse(late)
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            LIMIT,
        ))
        .with_state(generators.clone());
    let addr = serve(app).await;

    // The layer is active and has dropped the request that timed out.
    let (_client, head) = ask(addr, "/late").await;
    assert_eq!(head.status_line, "HTTP/1.1 408 Request Timeout");
    generators.until_alive(0).await;
    assert_eq!(generators.count().started, 1);

    let (mut client, head) = ask(addr, "/slow").await;
    assert_event_stream(&head);
    for event in 1..=3 {
        assert_eq!(client.expect_chunk().await, format!("data: {event}\n\n"));
    }
    assert_eq!(client.chunk().await, Ok(None));
}

/// Polls the body in a separate task, like a layer that buffers, records or compresses the body in
/// the background.
async fn in_another_task(response: Response) -> Response {
    let (head, body) = response.into_parts();
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut frames = body.into_data_stream();
        while let Some(frame) = frames.next().await {
            if sender.send(frame).await.is_err() {
                return;
            }
        }
    });
    Response::from_parts(head, Body::from_stream(ReceiverStream::new(receiver)))
}

#[sse_endpoint("/numbers")]
async fn numbers() -> impl Stream<Item = u32> {
    for number in 1..=5 {
        yield_!(number);
    }
    pending::<()>().await;
}

#[tokio::test]
async fn layer_may_poll_the_body_in_another_task() {
    let app = Router::new()
        .sse(numbers)
        .layer(map_response(in_another_task));
    let (mut client, head) = ask(serve(app).await, "/numbers").await;
    assert_event_stream(&head);
    for number in 1..=5 {
        let chunk = within("an event", client.expect_chunk()).await;
        assert_eq!(chunk, format!("data: {number}\n\n"));
    }
}

async fn mark(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert("x-layer", HeaderValue::from_static("here"));
    response
}

#[sse_endpoint("/one")]
async fn one() -> impl Stream<Item = u32> {
    yield_!(1);
}

#[sse_endpoint("/one", method = POST)]
async fn post_one() -> impl Stream<Item = u32> {
    yield_!(1);
}

#[sse_endpoint("/two")]
async fn two() -> impl Stream<Item = u32> {
    yield_!(2);
}

#[tokio::test]
async fn layer_on_one_endpoint_skips_the_others() {
    let app = Router::new().sse(one().layer(map_response(mark))).sse(two);
    let addr = serve(app).await;

    let (mut client, head) = ask(addr, "/one").await;
    assert_event_stream(&head);
    assert_eq!(head.get("x-layer"), Some("here"));
    assert_eq!(client.expect_chunk().await, "data: 1\n\n");

    let (mut client, head) = ask(addr, "/two").await;
    assert_event_stream(&head);
    assert_eq!(head.get("x-layer"), None);
    assert_eq!(client.expect_chunk().await, "data: 2\n\n");
}

#[tokio::test]
async fn layer_on_one_endpoint_skips_other_methods() {
    let app = Router::new()
        .sse(post_one)
        .sse(one().layer(map_response(mark)));
    let client = testing::Client::new(app);
    for (method, status, layer) in [
        (Method::GET, 200, Some("here")),
        (Method::POST, 200, None),
        (Method::PUT, 405, None),
    ] {
        let response = client.request(method, "/one").await;
        assert_eq!(response.status(), status);
        assert_eq!(response.header("x-layer"), layer);
    }
}

#[tokio::test]
async fn endpoints_work_on_nested_routers_with_state() {
    let (_sender, receiver) = watch::channel(7);
    let api = Router::new()
        .sse(events)
        .sse(one().layer(map_response(mark)));
    let app = Router::new()
        .sse(two)
        .nest("/api/v1", api)
        .fallback(|| async { (StatusCode::NOT_FOUND, "nothing here") })
        .with_state(receiver);
    let addr = serve(app).await;

    for (path, data) in [("/api/v1/events", 7), ("/api/v1/one", 1), ("/two", 2)] {
        let (mut client, head) = ask(addr, path).await;
        assert_event_stream(&head);
        assert_eq!(client.expect_chunk().await, format!("data: {data}\n\n"));
    }
    // The endpoint is not available without the nesting prefix.
    for path in ["/events", "/nowhere"] {
        let (mut client, head) = ask(addr, path).await;
        assert_eq!(head.status_line, "HTTP/1.1 404 Not Found");
        client.read_to("nothing here").await;
    }
}

#[tokio::test]
async fn other_method_is_rejected() {
    let addr = serve(Router::new().sse(one)).await;
    let mut client = Client::post(addr, "/one", 0, b"").await;
    let head = client.head().await;
    assert_eq!(head.status_line, "HTTP/1.1 405 Method Not Allowed");
    assert_eq!(head.get("allow"), Some("GET,HEAD"));
}

/// An extractor that panics.
struct Panics;

impl<S: Sync> FromRequestParts<S> for Panics {
    type Rejection = StatusCode;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        panic!("a secret");
    }
}

#[sse_endpoint("/extractor")]
async fn panicking_extractor(_panics: Panics) -> impl Stream<Item = u32> {
    yield_!(1);
}

#[sse_endpoint("/prelude")]
async fn panicking_prelude() -> Result<impl Stream<Item = u32>, StatusCode> {
    if true {
        panic!("a secret");
    }
    yield_!(1);
}

#[sse_endpoint("/layer")]
async fn panicking_layer() -> impl Stream<Item = u32> {
    yield_!(1);
}

#[tokio::test]
async fn panic_before_response_is_logged_once() {
    let panics = map_response(async |_: Response| -> Response { panic!("a secret") });
    let app = Router::new()
        .sse(panicking_extractor)
        .sse(panicking_prelude)
        .sse(panicking_layer().layer(panics));
    let log = Log::capture();
    let addr = serve(app).await;
    for path in ["/extractor", "/prelude", "/layer"] {
        let client = Client::get(addr, &format!("{path}?token=x")).await;
        // The connection is closed without a response.
        assert_eq!(client.rest().await, "");
        let text = log.text();
        let lines: Vec<_> = text
            .lines()
            .filter(|line| line.contains(&format!("path=\"{path}\"")))
            .collect();
        assert_eq!(lines.len(), 1, "{text}");
        assert!(
            lines[0].contains("ERROR") && lines[0].contains("GET"),
            "{text}"
        );
        assert!(!text.contains("token"), "{text}");
    }
    assert!(!log.text().contains("a secret"));
}
