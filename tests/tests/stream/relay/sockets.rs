//! Relays between servers, over sockets.

use std::{
    convert::Infallible,
    future::pending,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
};
use serde_json::Value;
use sse_runtime::{
    Event, LastEventId, Server, SseRouterExt as _, Stream, relay, sse_endpoint, testing,
};
use tokio_stream::StreamExt as _;

use support::{Client, CutOff, Generators, serve, serve_plain, within};

/// An upstream that is an endpoint of its own.
#[sse_endpoint("/numbers", retry = "3s", end = "stop")]
async fn numbers(
    State(generators): State<Generators>,
    last: LastEventId<u64>,
) -> impl Stream<Item = u64> {
    let _running = generators.enter();
    for number in last.ok().unwrap_or(0) + 1..=5 {
        yield_!(Event::json(number).id(number));
    }
}

/// An upstream that waits after its first event.
#[sse_endpoint("/endless")]
async fn endless(State(generators): State<Generators>) -> impl Stream<Item = u64> {
    let _running = generators.enter();
    yield_!(1);
    pending::<()>().await;
}

#[derive(Clone)]
struct Upstream(SocketAddr);

/// Relays an endpoint of the upstream with reqwest, and passes the client's id on.
#[sse_endpoint("/relay/{endpoint}")]
async fn relay_endpoint(
    State(Upstream(addr)): State<Upstream>,
    Path(endpoint): Path<String>,
    last: LastEventId,
) -> Result<impl Stream<Item = u64>, StatusCode> {
    let mut request = reqwest::Client::new().get(format!("http://{addr}/{endpoint}"));
    if let Some(id) = last.ok() {
        request = request.header("last-event-id", id.to_string());
    }
    let response = request.send().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    let status = response.status();
    if status != StatusCode::OK {
        return Err(status);
    }
    yield_all!(relay(response.bytes_stream()).abort_on_error());
}

#[tokio::test]
async fn endpoint_can_relay_another_endpoint() {
    let generators = Generators::new();
    let upstream = Router::new().sse(numbers).sse(endless);
    let upstream = serve(upstream.with_state(generators.clone())).await;
    let app = Router::new()
        .sse(relay_endpoint)
        .with_state(Upstream(upstream));
    for addr in [serve(app.clone()).await, serve_plain(app).await] {
        let get = |id: &str| {
            format!("GET /relay/numbers HTTP/1.1\r\nhost: test\r\nlast-event-id: {id}\r\n\r\n")
        };
        let mut client = Client::connect(addr).await;
        client.send(get("3").as_bytes()).await;
        client.head().await;
        let mut received = String::new();
        while let Some(chunk) = client.chunk().await.unwrap() {
            received.push_str(&chunk);
        }
        assert_eq!(
            received,
            "retry: 3000\nid: 4\ndata: 4\n\nid: 5\ndata: 5\n\nevent: done\nid: 5~done\ndata: null\n\n"
        );
        // The upstream's `done` is the relay's. A client that has received it gets a `204`.
        let mut client = Client::connect(addr).await;
        client.send(get("5~done").as_bytes()).await;
        assert_eq!(client.head().await.status_line, "HTTP/1.1 204 No Content");
        // An error status of the upstream can be passed on, because the response has not begun.
        let mut client = Client::get(addr, "/relay/nowhere").await;
        assert_eq!(client.head().await.status_line, "HTTP/1.1 404 Not Found");
        // A client that leaves cancels the request to the upstream.
        let mut client = Client::get(addr, "/relay/endless").await;
        client.head().await;
        client.read_to("data: 1\n\n").await;
        assert_eq!(generators.count().alive, 1);
        drop(client);
        generators.until_alive(0).await;
    }
}

#[tokio::test]
async fn upstream_that_dies_aborts_the_response() {
    let generators = Generators::new();
    let (abort, aborted) = tokio::sync::oneshot::channel::<()>();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let app = Router::new().sse(endless).with_state(generators.clone());
    tokio::spawn(async move {
        tokio::select! {
            served = Server::new(app).serve(listener) => served.unwrap(),
            // Dropping the server resets its connections.
            _ = aborted => {}
        }
    });
    let app = Router::new()
        .sse(relay_endpoint)
        .with_state(Upstream(upstream));
    let addr = serve(app).await;
    let mut client = Client::get(addr, "/relay/endless").await;
    client.head().await;
    assert_eq!(client.expect_chunk().await, "data: 1\n\n");
    abort.send(()).unwrap();
    assert_eq!(within("the end", client.chunk()).await, Err(CutOff));
}

#[sse_endpoint("/idle", method = POST, keep_alive = "50ms")]
async fn idle(State(generators): State<Generators>) -> impl Stream<Item = Value> {
    let running = generators.enter();
    let mut first = Some(Ok::<_, io::Error>(Bytes::from_static(b"data: 1\n\nda")));
    let upstream = support::body::poll_fn(move |_| {
        let _running = &running;
        match first.take() {
            Some(Ok(first)) => std::task::Poll::Ready(Some(Ok(http_body::Frame::data(first)))),
            _ => std::task::Poll::Pending,
        }
    });
    yield_all!(relay(upstream.into_data_stream()).abort_on_error());
}

#[tokio::test]
async fn leaving_drops_an_idle_upstream() {
    let generators = Generators::new();
    let app = Router::new().sse(idle).with_state(generators.clone());
    for addr in [serve(app.clone()).await, serve_plain(app.clone()).await] {
        let mut client = Client::post(addr, "/idle", 0, b"").await;
        client.head().await;
        client.read_to("data: 1\n\n").await;
        // The endpoint's own keep-alive is sent between events, never within one.
        client.read_to(":\n").await;
        assert_eq!(generators.count().alive, 1);
        drop(client);
        generators.until_alive(0).await;
    }
}

/// Counts the bytes that the relay takes from an upstream that always has more.
#[sse_endpoint("/firehose/{size}", flush = "ready")]
async fn firehose(
    State(taken): State<Arc<AtomicUsize>>,
    Path(size): Path<usize>,
) -> impl Stream<Item = Value> {
    let chunk = Bytes::from(format!("data: {}\n\n", "1".repeat(size)));
    let upstream = tokio_stream::iter(std::iter::repeat(chunk)).map(move |chunk| {
        taken.fetch_add(chunk.len(), Ordering::Relaxed);
        Ok::<_, Infallible>(chunk)
    });
    yield_all!(relay(upstream).abort_on_error());
}

#[tokio::test]
async fn upstream_is_not_read_ahead_of_the_client() {
    for size in [1_000, 4_000, 5_000, 30_000] {
        let taken = Arc::new(AtomicUsize::new(0));
        let app = Router::new().sse(firehose).with_state(Arc::clone(&taken));
        let response = testing::Client::new(app)
            .get(&format!("/firehose/{size}"))
            .await;
        let taken = taken.load(Ordering::Relaxed);
        assert!(
            taken < 128 * 1024,
            "{taken} bytes of events of {size} bytes"
        );
        drop(response);
    }
}

/// An upstream that sends an id without an event, as a topic does when a client starts to read it.
fn position() -> impl Stream<Item = io::Result<Bytes>> {
    let sent = tokio_stream::iter([Ok(Bytes::from_static(b"id: 7\n\n"))]);
    sent.chain(tokio_stream::pending())
}

#[sse_endpoint("/position/one-by-one")]
async fn position_one_by_one() -> impl Stream<Item = u64> {
    let mut events = relay(position()).abort_on_error();
    while let Some(event) = events.next().await {
        yield_!(event);
    }
}

#[sse_endpoint("/position/mapped")]
async fn position_mapped() -> impl Stream<Item = u64> {
    yield_all!(relay(position()).map(|event| event).abort_on_error());
}

#[sse_endpoint("/position/all")]
async fn position_all() -> impl Stream<Item = u64> {
    yield_all!(relay(position()).abort_on_error());
}

/// Without the id, a client that reconnects before the first event could not resume.
#[tokio::test]
async fn id_without_an_event_is_relayed_at_once() {
    let app = Router::new()
        .sse(position_one_by_one)
        .sse(position_mapped)
        .sse(position_all);
    let addr = serve(app).await;
    for how in ["one-by-one", "mapped", "all"] {
        let mut client = Client::get(addr, &format!("/position/{how}")).await;
        client.head().await;
        assert_eq!(client.expect_chunk().await, "id: 7\n\n", "{how}");
    }
}
