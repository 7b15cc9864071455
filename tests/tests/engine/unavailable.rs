//! Requests for a topic that cannot be opened, because its engine is unavailable or its hub is full.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{FromRequestParts, State},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use sse_runtime::{
    Hub, Start, Stream, Topic, sse_endpoint,
    topic::{HubError, OpenError, PublishError, engine::Node},
};
use support::SseRouterExt as _;
use support::{Client, serve};

use super::fake::Fake;

#[derive(Clone)]
struct Engines {
    node: Node,
    hub: Arc<Hub<u64>>,
    full: Hub<u64>,
}

#[sse_endpoint("/topic")]
async fn one_topic(State(engines): State<Engines>) -> Result<impl Stream<Item = u64>, OpenError> {
    let topic = Topic::<u64>::open(&engines.node, "x").await?;
    yield_all!(topic.subscribe(Start::First));
}

#[sse_endpoint("/hub")]
async fn topic_of_a_hub(
    State(engines): State<Engines>,
) -> Result<impl Stream<Item = u64>, HubError> {
    let topic = engines.hub.topic("x").await?;
    yield_all!(topic.subscribe(Start::First));
}

#[sse_endpoint("/full")]
async fn full_hub(State(engines): State<Engines>) -> Result<impl Stream<Item = u64>, HubError> {
    let topic = engines.full.topic("x").await?;
    yield_all!(topic.subscribe(Start::First));
}

/// An extractor that opens a topic.
struct Opened(Topic<u64>);

impl FromRequestParts<Engines> for Opened {
    type Rejection = OpenError;

    async fn from_request_parts(_: &mut Parts, engines: &Engines) -> Result<Self, OpenError> {
        Ok(Self(Topic::open(&engines.node, "y").await?))
    }
}

#[sse_endpoint("/extractor")]
async fn extracted(Opened(topic): Opened) -> impl Stream<Item = u64> {
    yield_all!(topic.subscribe(Start::First));
}

/// Requests `path`, and returns the status line, the delay in seconds before the client may retry,
/// and the body's first `data` line.
async fn ask(addr: SocketAddr, path: &str, headers: &str) -> (String, u64, String) {
    let mut client = Client::connect(addr).await;
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}\r\n");
    client.send(request.as_bytes()).await;
    let head = client.head().await;
    let retry_after = head.get("retry-after").map(|after| after.parse().unwrap());
    let body = client.rest().await;
    let retry = body
        .lines()
        .find_map(|line| Some(line.strip_prefix("retry: ")?.parse::<u64>().unwrap() / 1_000));
    assert_eq!(
        body.lines().any(|line| line == "event: close"),
        retry.is_some()
    );
    let data = body.lines().find(|line| line.starts_with("data: "));
    (
        head.status_line,
        retry_after.or(retry).unwrap(),
        data.unwrap_or_default().to_owned(),
    )
}

const EVENT_SOURCE: &str = "accept: text/event-stream\r\ncache-control: no-cache\r\n";

#[tokio::test]
async fn event_source_gets_a_close_event_if_opening_fails() {
    let fake = Fake::new();
    fake.set_down(true);
    let node = Node::new(fake.engine());
    let hub = Hub::builder(Topic::<u64>::builder)
        .engine(&node, "hub")
        .build();
    let full: Hub<u64> = Hub::builder(Topic::<u64>::builder).max_topics(1).build();
    let only = full.topic("only").await.unwrap();
    let _reader = only.subscribe(Start::Now);
    let app = Router::new()
        .sse(one_topic)
        .sse(topic_of_a_hub)
        .sse(full_hub)
        .sse(extracted);
    let own = node.clone();
    let engines = Engines {
        node,
        hub: Arc::new(hub),
        full,
    };
    let addr = serve(app.with_state(engines)).await;
    let check = async |path: &str, status: &str, reason: &str| {
        let (browser, other) = tokio::join!(ask(addr, path, EVENT_SOURCE), ask(addr, path, ""));
        assert_eq!(browser.0, "HTTP/1.1 200 OK");
        assert_eq!(browser.2, format!("data: {{\"reason\":\"{reason}\"}}"));
        assert_eq!(other.0, format!("HTTP/1.1 {status}"));
        assert_eq!(other.2, "");
        for (_, after, _) in [browser, other] {
            assert!((2..15).contains(&after), "{path}: {after}");
        }
    };
    let unavailable = "503 Service Unavailable";
    let error = async {
        let opening = Topic::<u64>::open(&own, "z").await;
        assert_eq!(
            opening.unwrap_err().to_string(),
            "failed to open the topic within 5 seconds; check the engine, or try again later: \
             the engine cannot be reached: down"
        );
    };
    tokio::join!(
        error,
        check("/topic", unavailable, "unavailable"),
        check("/hub", unavailable, "unavailable"),
        check("/extractor", unavailable, "unavailable"),
        check("/full", "429 Too Many Requests", "too_many_topics"),
    );
    // Once the engine can be reached, the same request opens the stream.
    fake.set_down(false);
    let mut client = Client::connect(addr).await;
    let request = format!("GET /topic HTTP/1.1\r\nhost: test\r\n{EVENT_SOURCE}\r\n");
    client.send(request.as_bytes()).await;
    let head = client.head().await;
    assert_eq!(head.status_line, "HTTP/1.1 200 OK");
    assert_eq!(head.get("transfer-encoding"), Some("chunked"));
}

/// An error that contains a temporary error, but has a status of its own.
struct NotHere(HubError);

impl IntoResponse for NotHere {
    fn into_response(self) -> Response {
        (StatusCode::NO_CONTENT, self.0).into_response()
    }
}

#[sse_endpoint("/not-here")]
async fn not_here(State(engines): State<Engines>) -> Result<impl Stream<Item = u64>, NotHere> {
    let topic = engines.full.topic("x").await.map_err(NotHere)?;
    yield_all!(topic.subscribe(Start::First));
}

#[sse_endpoint("/joins")]
async fn joins(State(topic): State<Topic<u64>>) -> Result<impl Stream<Item = u64>, PublishError> {
    let updates = topic.subscribe(Start::Now);
    topic.publish(&1).await?;
    yield_all!(updates);
}

#[tokio::test]
async fn status_of_a_wrapping_error_is_kept() {
    let (app, _only) = {
        let node = Node::new(Fake::new().engine());
        let full: Hub<u64> = Hub::builder(Topic::<u64>::builder).max_topics(1).build();
        let only = full.topic("only").await.unwrap().subscribe(Start::Now);
        let hub = Arc::new(full.clone());
        let engines = Engines { node, hub, full };
        (Router::new().sse(not_here).with_state(engines), only)
    };
    let addr = serve(app).await;
    let mut client = Client::connect(addr).await;
    let request = format!("GET /not-here HTTP/1.1\r\nhost: test\r\n{EVENT_SOURCE}\r\n");
    client.send(request.as_bytes()).await;
    assert_eq!(client.head().await.status_line, "HTTP/1.1 204 No Content");
}

#[tokio::test]
async fn event_source_reconnects_after_a_failed_publish() {
    let fake = Fake::new();
    let node = Node::new(fake.engine());
    let topic = Topic::<u64>::open(&node, "x").await.unwrap();
    fake.set_down(true);
    let addr = serve(Router::new().sse(joins).with_state(topic)).await;
    let (browser, other) = tokio::join!(ask(addr, "/joins", EVENT_SOURCE), ask(addr, "/joins", ""));
    assert_eq!(browser.0, "HTTP/1.1 200 OK");
    assert_eq!(browser.2, r#"data: {"reason":"unavailable"}"#);
    assert_eq!(other.0, "HTTP/1.1 503 Service Unavailable");
}

#[tokio::test(start_paused = true)]
async fn publish_with_retry_stores_the_event_once() {
    let fake = Fake::new();
    let node = Node::new(fake.engine());
    let topic = Topic::<u64>::open(&node, "x").await.unwrap();
    fake.set_down(true);
    let publishing = tokio::spawn({
        let topic = topic.clone();
        async move { topic.publish_with_retry(&1).await }
    });
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert!(!publishing.is_finished());
    fake.set_down(false);
    publishing.await.unwrap().unwrap();
    assert_eq!(fake.records("x").len(), 1);
    topic.finish().await.unwrap();
    let published = topic.publish_with_retry(&2).await;
    assert!(matches!(published, Err(PublishError::Finished)));
}
