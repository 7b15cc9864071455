//! The response in each HTTP version.

use std::{collections::BTreeSet, future::pending, net::SocketAddr};

use axum::{
    Router,
    extract::{ConnectInfo, FromRef, State},
    http::StatusCode,
};
use eventsource_stream::{Event, EventStreamError, Eventsource as _};
use reqwest::{Response, Version, header::HeaderMap};
use sse_runtime::{Shutdown, Stream, sse_endpoint};
use tokio::sync::watch;
use tokio_stream::StreamExt as _;

use support::{Client, Generators, Head, SseRouterExt as _, serve, within};

#[derive(Clone, FromRef)]
struct Shared {
    generators: Generators,
    events: watch::Receiver<u32>,
}

/// Yields the client's address, then all events.
#[sse_endpoint("/events")]
async fn events(
    State(generators): State<Generators>,
    State(events): State<watch::Receiver<u32>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
) -> impl Stream<Item = String> {
    let mut events = events;
    let _running = generators.enter();
    yield_!(peer.to_string());
    while events.changed().await.is_ok() {
        let event = events.borrow_and_update().to_string();
        yield_!(event);
    }
}

#[sse_endpoint("/two")]
async fn two() -> impl Stream<Item = u32> {
    yield_!(1);
    yield_!(2);
}

/// Looks up an order that may not exist. One guard is entered before the response starts, and
/// another one within the stream.
#[sse_endpoint("/orders/{order}")]
async fn order(
    State(generators): State<Generators>,
    axum::extract::Path(order): axum::extract::Path<u32>,
) -> Result<impl Stream<Item = u32>, StatusCode> {
    if order != 1 {
        return Err(StatusCode::NOT_FOUND);
    }
    let _before = generators.enter();
    yield_!(order);
    let _in_stream = generators.enter();
    pending::<()>().await;
}

struct Server {
    addr: SocketAddr,
    generators: Generators,
    events: watch::Sender<u32>,
}

async fn server() -> Server {
    let generators = Generators::new();
    let (sender, receiver) = watch::channel(0);
    let app = Router::new()
        .sse(events)
        .sse(two)
        .sse(order)
        .with_state(Shared {
            generators: generators.clone(),
            events: receiver,
        });
    Server {
        addr: serve(app).await,
        generators,
        events: sender,
    }
}

impl Server {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }
}

/// Sends `request` to `server`, and returns the client and the response head.
async fn send(server: &Server, request: &str) -> (Client, Head) {
    let mut client = Client::connect(server.addr).await;
    client.send(request.as_bytes()).await;
    let head = client.head().await;
    (client, head)
}

/// Asserts the headers that are the same in every HTTP version.
fn assert_event_stream(head: &Head) {
    assert!(head.status_line.ends_with(" 200 OK"), "{head:?}");
    assert_eq!(
        head.get("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    assert_eq!(
        head.get("cache-control"),
        Some("no-cache, no-store, no-transform")
    );
    assert_eq!(head.get("x-accel-buffering"), Some("no"));
    assert_eq!(head.get("content-length"), None);
}

fn assert_event_stream_headers(headers: &HeaderMap) {
    assert_eq!(headers["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(headers["cache-control"], "no-cache, no-store, no-transform");
    assert_eq!(headers["x-accel-buffering"], "no");
    assert!(!headers.contains_key("content-length"));
}

const TWO: &str = "data: 1\n\ndata: 2\n\n";

#[tokio::test]
async fn http_1_0_ends_with_the_connection() {
    let server = server().await;
    let (client, head) = send(&server, "GET /two HTTP/1.0\r\n\r\n").await;
    assert_event_stream(&head);
    assert_eq!(head.get("transfer-encoding"), None);
    assert_eq!(head.get("connection"), None);
    assert_eq!(client.rest().await, TWO);
}

#[tokio::test]
async fn http_1_0_keep_alive_is_not_promised() {
    let server = server().await;
    let request = "GET /two HTTP/1.0\r\nconnection: keep-alive\r\n\r\n";
    let (client, head) = send(&server, request).await;
    assert_event_stream(&head);
    assert_eq!(head.get("transfer-encoding"), None);
    // The body ends when the connection closes, so `keep-alive` would be wrong.
    assert_eq!(head.get("connection"), None);
    assert_eq!(client.rest().await, TWO);
}

#[tokio::test]
async fn http_1_0_receives_events_as_they_are_sent() {
    let server = server().await;
    let (mut client, _) = send(&server, "GET /events HTTP/1.0\r\n\r\n").await;
    client.read_to("data: \"127.0.0.1:").await;
    server.events.send(1).unwrap();
    client.read_to("data: \"1\"\n\n").await;
    drop(client);
    server.generators.until_alive(0).await;
}

#[tokio::test]
async fn http_1_1_keeps_the_connection() {
    let server = server().await;
    let request = "GET /two HTTP/1.1\r\nhost: test\r\n\r\n";
    let (mut client, head) = send(&server, request).await;
    assert_event_stream(&head);
    assert_eq!(head.get("connection"), Some("keep-alive"));
    assert_eq!(head.get("transfer-encoding"), Some("chunked"));
    assert_eq!(client.expect_chunk().await, "data: 1\n\n");
    assert_eq!(client.expect_chunk().await, "data: 2\n\n");
    assert_eq!(client.chunk().await, Ok(None));

    // The connection stays open for another request.
    client.send(request.as_bytes()).await;
    assert_event_stream(&client.head().await);
}

#[tokio::test]
async fn http_1_1_closes_if_the_client_requests_it() {
    let server = server().await;
    for close in ["close", "Close", "TE, close"] {
        let request = format!("GET /two HTTP/1.1\r\nhost: test\r\nconnection: {close}\r\n\r\n");
        let (mut client, head) = send(&server, &request).await;
        assert_event_stream(&head);
        // hyper sends this header.
        assert_eq!(head.get("connection"), Some("close"), "{close}");
        assert_eq!(client.expect_chunk().await, "data: 1\n\n");
        assert_eq!(client.expect_chunk().await, "data: 2\n\n");
        assert_eq!(client.chunk().await, Ok(None));
        assert_eq!(client.rest().await, "", "the connection should close");
    }
}

/// The events of a response, decoded by an independent parser.
struct Events<S>(S);

impl<S> Events<S>
where
    S: Stream<Item = Result<Event, EventStreamError<reqwest::Error>>> + Unpin,
{
    async fn data(&mut self) -> String {
        let event = within("an event", self.0.next()).await;
        event.expect("another event").expect("a valid event").data
    }
}

fn decode(
    response: Response,
) -> Events<impl Stream<Item = Result<Event, EventStreamError<reqwest::Error>>> + Unpin> {
    Events(Box::pin(response.bytes_stream().eventsource()))
}

#[tokio::test]
async fn http_1_1_is_read_by_an_independent_client() {
    let server = server().await;
    let client = reqwest::Client::builder().http1_only().build().unwrap();
    let response = client.get(server.url("/events")).send().await.unwrap();
    assert_eq!(response.version(), Version::HTTP_11);
    assert_eq!(response.status(), StatusCode::OK);
    assert_event_stream_headers(response.headers());
    assert_eq!(response.headers()["connection"], "keep-alive");

    let mut events = decode(response);
    assert!(events.data().await.starts_with("\"127.0.0.1:"));
    server.events.send(1).unwrap();
    assert_eq!(events.data().await, "\"1\"");
    drop(events);
    server.generators.until_alive(0).await;
}

/// Returns a client that speaks HTTP/2 with prior knowledge, without TLS.
fn http2() -> reqwest::Client {
    reqwest::Client::builder()
        .http2_prior_knowledge()
        .build()
        .unwrap()
}

#[tokio::test]
async fn http_2_has_no_connection_header() {
    let server = server().await;
    let response = http2().get(server.url("/events")).send().await.unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    assert_eq!(response.status(), StatusCode::OK);
    assert_event_stream_headers(response.headers());
    for forbidden in ["connection", "keep-alive", "transfer-encoding"] {
        assert!(!response.headers().contains_key(forbidden), "{forbidden}");
    }

    let mut events = decode(response);
    assert!(events.data().await.starts_with("\"127.0.0.1:"));
    server.events.send(1).unwrap();
    assert_eq!(events.data().await, "\"1\"");
}

#[tokio::test]
async fn http_2_streams_on_one_connection_end_independently() {
    const STREAMS: usize = 20;

    let server = server().await;
    let client = http2();
    let mut streams = Vec::new();
    let mut connections = BTreeSet::new();
    for _ in 0..STREAMS {
        let response = client.get(server.url("/events")).send().await.unwrap();
        let mut events = decode(response);
        connections.insert(events.data().await);
        streams.push(events);
    }
    assert_eq!(connections.len(), 1, "{connections:?}");

    server.events.send(1).unwrap();
    for events in &mut streams {
        assert_eq!(events.data().await, "\"1\"");
    }

    // Dropping a response resets its stream.
    assert_eq!(server.generators.count().alive, STREAMS);
    drop(streams.swap_remove(7));
    server.generators.until_alive(STREAMS - 1).await;

    server.events.send(2).unwrap();
    for events in &mut streams {
        assert_eq!(events.data().await, "\"2\"");
    }
    assert_eq!(server.generators.count().alive, STREAMS - 1);

    drop(streams);
    server.generators.until_alive(0).await;
}

/// Returns the head of the response to `HEAD path`. Asserts that no body follows by checking that
/// the next bytes belong to the next response.
async fn head_of(server: &Server, path: &str) -> Head {
    let request = format!("HEAD {path} HTTP/1.1\r\nhost: test\r\n\r\n");
    let (mut client, head) = send(server, &request).await;
    client
        .send(b"GET /two HTTP/1.1\r\nhost: test\r\n\r\n")
        .await;
    assert_event_stream(&client.head().await);
    assert_eq!(client.expect_chunk().await, "data: 1\n\n");
    head
}

#[tokio::test]
async fn head_request_starts_no_generator() {
    let server = server().await;
    assert_event_stream(&head_of(&server, "/events").await);
    assert_eq!(server.generators.count().started, 0);
}

#[tokio::test]
async fn head_request_runs_the_code_before_the_response() {
    let server = server().await;
    assert_event_stream(&head_of(&server, "/orders/1").await);
    server.generators.until_alive(0).await;
    assert_eq!(
        server.generators.count().started,
        1,
        "the code before the response"
    );

    let missing = head_of(&server, "/orders/2").await;
    assert_eq!(missing.status_line, "HTTP/1.1 404 Not Found");
    assert_eq!(server.generators.count().started, 1);
}

#[tokio::test]
async fn head_request_over_http_2_starts_no_generator() {
    let server = server().await;
    let response = http2().head(server.url("/events")).send().await.unwrap();
    assert_event_stream_headers(response.headers());
    assert_eq!(response.text().await.unwrap(), "");
    assert_eq!(server.generators.count().started, 0);
}

/// A request with both a `content-length` and chunked encoding may be an attack, so hyper closes
/// the connection after responding (RFC 9112, section 6.1).
#[tokio::test]
async fn http_1_1_sends_only_close_after_both_framings() {
    for server in [
        serve(body_app()).await,
        support::serve_plain(body_app()).await,
    ] {
        for framings in [
            "content-length: 4\r\ntransfer-encoding: chunked",
            "transfer-encoding: chunked\r\ncontent-length: 4",
        ] {
            let mut client = Client::connect(server).await;
            let head = format!("POST /body HTTP/1.1\r\nhost: test\r\n{framings}\r\n\r\n");
            client
                .send(format!("{head}1\r\nx\r\n0\r\n\r\n").as_bytes())
                .await;
            let head = client.head().await;
            assert_eq!(head.get("connection"), Some("close"), "{framings}");
        }
    }
}

#[sse_endpoint("/body", method = POST)]
async fn body(body: String) -> impl Stream<Item = String> {
    yield_!(body);
}

fn body_app() -> Router {
    Router::new().sse(body)
}

/// Starts its response once the server has started to shut down.
#[sse_endpoint("/stopping", on_shutdown = "finish", allow(finish_without_end))]
async fn stopping(
    State((generators, shutdown)): State<(Generators, Shutdown)>,
) -> Result<impl Stream<Item = u32>, StatusCode> {
    let _running = generators.enter();
    shutdown.begun().await;
    yield_!(1);
}

#[tokio::test]
async fn http_1_1_sends_only_close_in_shutdown() {
    let shutdown = Shutdown::new();
    let generators = Generators::new();
    let app = Router::new()
        .sse(stopping)
        .with_state((generators.clone(), shutdown.clone()));
    let server = support::server_of(app).shutdown(shutdown.clone());
    let addr = support::serve_as(server).await;
    let mut clients = Vec::new();
    for method in ["HEAD", "GET"] {
        let mut client = Client::connect(addr).await;
        let request = format!("{method} /stopping HTTP/1.1\r\nhost: test\r\n\r\n");
        client.send(request.as_bytes()).await;
        clients.push(client);
    }
    generators.until_started(2).await;
    shutdown.begin();
    for client in &mut clients {
        assert_eq!(client.head().await.get("connection"), Some("close"));
    }
}
