//! Before the response head is sent, the generator runs until it first waits.
//!
//! In these tests, a layer publishes a value as soon as the endpoint has returned its response. At
//! that time, no client can have read the head yet. A generator that begins by subscribing must
//! have subscribed by then.

use std::{net::SocketAddr, time::Duration};

use axum::{
    Router,
    extract::{FromRef, Path, State},
    http::StatusCode,
    middleware::map_response,
    response::Response,
};
use eventsource_stream::Eventsource as _;
use schemars::JsonSchema;
use sse_runtime::{
    Hub, LastEventId, Server, Start, Stream, Topic, sse_endpoint, testing,
    topic::{Presence, PresenceEvent},
};
use tokio::sync::{broadcast, watch};
use tokio_stream::StreamExt as _;

use support::{Client, SseRouterExt as _, serve, serve_as, serve_plain, within};

#[derive(Clone, FromRef)]
struct Sources {
    topic: Topic<u64>,
    hub: Hub<u64>,
    presence: Presence<String>,
    broadcast: broadcast::Sender<u64>,
    watch: watch::Sender<u64>,
}

impl Sources {
    fn new() -> Self {
        Self {
            topic: Topic::in_memory(16),
            hub: Hub::new(|| Topic::builder().keep(16)),
            presence: Presence::new(Duration::from_secs(10)),
            broadcast: broadcast::channel(16).0,
            watch: watch::channel(0).0,
        }
    }

    /// Publishes 7 to every source. Later subscribers do not receive the value.
    async fn publish(&self) {
        self.topic.publish(&7).await.unwrap();
        self.hub
            .topic("b")
            .await
            .unwrap()
            .publish(&7)
            .await
            .unwrap();
        std::mem::forget(self.presence.join("7".to_owned()));
        let _ = self.broadcast.send(7);
        self.watch.send_replace(7);
    }
}

#[derive(Debug, serde::Serialize, JsonSchema)]
struct Oops;

#[sse_endpoint("/stream")]
async fn stream(State(topic): State<Topic<u64>>, last: LastEventId) -> impl Stream<Item = u64> {
    yield_all!(topic.subscribe(last.or(Start::Now)));
}

#[sse_endpoint("/try-stream", retry = "3s")]
async fn try_stream(
    State(topic): State<Topic<u64>>,
    last: LastEventId,
) -> impl Stream<Item = Result<u64, Oops>> {
    yield_all!(topic.subscribe(last.or(Start::Now)));
}

#[sse_endpoint("/response", flush = "ready")]
async fn response(
    State(topic): State<Topic<u64>>,
    last: LastEventId,
) -> Result<impl Stream<Item = u64>, StatusCode> {
    tokio::task::yield_now().await;
    yield_all!(topic.subscribe(last.or(Start::Now)));
}

#[sse_endpoint("/try-response", method = POST)]
async fn try_response(
    State(topic): State<Topic<u64>>,
    last: LastEventId,
) -> Result<impl Stream<Item = Result<u64, Oops>>, StatusCode> {
    yield_all!(topic.subscribe(last.or(Start::Now)));
}

/// The gap that results from the client's ID is written before the response starts.
#[sse_endpoint("/after-gap")]
async fn after_gap(
    State(topic): State<Topic<u64>>,
    State(hub): State<Hub<u64>>,
    last: LastEventId,
) -> Result<impl Stream<Item = u64>, StatusCode> {
    let first = hub
        .topic("a")
        .await
        .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    drop(first.subscribe(last));
    yield_all!(topic.subscribe(Start::Now));
}

#[sse_endpoint("/merged")]
async fn merged(State(hub): State<Hub<u64>>, last: LastEventId) -> impl Stream<Item = u64> {
    let Ok(updates) = hub.subscribe(["a", "b"], last).await else {
        return;
    };
    yield_all!(updates);
}

#[sse_endpoint("/presence")]
async fn presence(
    State(presence): State<Presence<String>>,
    last: LastEventId,
) -> impl Stream<Item = PresenceEvent<String>> {
    yield_all!(presence.changes(last));
}

#[sse_endpoint("/broadcast")]
async fn broadcasts(State(sender): State<broadcast::Sender<u64>>) -> impl Stream<Item = u64> {
    let mut events = sender.subscribe();
    while let Ok(event) = events.recv().await {
        yield_!(event);
    }
}

#[sse_endpoint("/watch")]
async fn watches(State(sender): State<watch::Sender<u64>>) -> impl Stream<Item = u64> {
    let mut value = sender.subscribe();
    while value.changed().await.is_ok() {
        let value = *value.borrow_and_update();
        yield_!(value);
    }
}

const PATHS: [&str; 9] = [
    "/stream",
    "/try-stream",
    "/response",
    "/try-response",
    "/after-gap",
    "/merged",
    "/presence",
    "/broadcast",
    "/watch",
];

/// Returns an app with all endpoints and a layer that publishes a value once an endpoint has
/// returned its response.
fn app() -> Router {
    let sources = Sources::new();
    let publisher = sources.clone();
    Router::new()
        .sse(stream)
        .sse(try_stream)
        .sse(response)
        .sse(try_response)
        .sse(after_gap)
        .sse(merged)
        .sse(presence)
        .sse(broadcasts)
        .sse(watches)
        .sse(after_ready_awaits)
        .with_state(sources)
        .layer(map_response(move |response: Response| {
            let publisher = publisher.clone();
            async move {
                publisher.publish().await;
                response
            }
        }))
}

/// Reads the stream at `path` until the published value arrives.
async fn expect_published(client: &reqwest::Client, addr: SocketAddr, path: &str) {
    let url = format!("http://{addr}{path}");
    let request = match path {
        "/try-response" => client.post(url),
        "/after-gap" => client.get(url).header("last-event-id", "another"),
        _ => client.get(url),
    };
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    let mut events = response.bytes_stream().eventsource();
    within(&format!("the value published to {path}"), async {
        loop {
            let event = events.next().await.expect("another event").unwrap();
            if event.data.contains('7') {
                break;
            }
        }
    })
    .await;
}

async fn expect_all_published(client: reqwest::Client, serve: impl AsyncFn(Router) -> SocketAddr) {
    for path in PATHS {
        expect_published(&client, serve(app()).await, path).await;
    }
}

#[tokio::test]
async fn serve_subscribes_before_the_head() {
    expect_all_published(reqwest::Client::new(), serve).await;
}

#[tokio::test]
async fn serve_in_hyper_subscribes_before_the_head() {
    expect_all_published(reqwest::Client::new(), async |app| {
        serve_as(Server::new(app).bypass_hyper(false)).await
    })
    .await;
}

#[tokio::test]
async fn axum_serve_subscribes_before_the_head() {
    expect_all_published(reqwest::Client::new(), serve_plain).await;
}

#[tokio::test]
async fn http2_subscribes_before_the_head() {
    let client = reqwest::Client::builder();
    let client = client.http2_prior_knowledge().build().unwrap();
    expect_all_published(client, serve).await;
}

/// Awaiting a future that is ready immediately does not count as waiting, although each such await
/// uses up some of the task's budget.
#[sse_endpoint("/after-ready-awaits/{awaits}")]
async fn after_ready_awaits(
    Path(awaits): Path<usize>,
    State(topic): State<Topic<u64>>,
) -> impl Stream<Item = u64> {
    for _ in 0..awaits {
        std::future::ready(()).await;
    }
    yield_all!(topic.subscribe(Start::Now));
}

#[tokio::test]
async fn ready_futures_do_not_count_as_a_wait() {
    for awaits in [10, 126, 127, 128, 300, 2_000] {
        let path = format!("/after-ready-awaits/{awaits}");
        expect_published(&reqwest::Client::new(), serve(app()).await, &path).await;
        expect_published(&reqwest::Client::new(), serve_plain(app()).await, &path).await;
    }
}

/// A generator that never waits and yields only empty events must still let other tasks run.
#[tokio::test]
async fn endless_empty_frames_block_no_other_task() {
    #[sse_endpoint("/empties")]
    async fn empties() -> impl Stream<Item = u64> {
        loop {
            yield_!(sse_runtime::Event::empty());
        }
    }
    let app = Router::new().sse(empties).merge(app());
    let addr = serve(app).await;
    let _hot = Client::get(addr, "/empties").await;
    expect_published(&reqwest::Client::new(), addr, "/stream").await;
}

#[tokio::test(start_paused = true)]
async fn test_client_subscribes_before_the_head() {
    let sources = Sources::new();
    let app = Router::new().sse(stream).with_state(sources.clone());
    let response = testing::Client::new(app).get("/stream").await;
    sources.publish().await;
    let mut events = response.events();
    assert_eq!(events.expect_event().await.json::<u64>(), 7);
}

#[tokio::test(start_paused = true)]
#[should_panic = "waiting for an event from GET /stream: polled"]
async fn test_client_panics_on_a_paused_clock() {
    let app = Router::new().sse(stream).with_state(Sources::new());
    let mut events = testing::Client::new(app).get("/stream").await.events();
    events.expect_event().await;
}

/// Generators that end on their first poll, one for each return type.
mod ends_at_once {
    use super::*;

    #[sse_endpoint("/stream/{how}")]
    async fn stream(Path(how): Path<String>) -> impl Stream<Item = u64> {
        assert_ne!(how, "panic", "on purpose");
        if how == "finish" {
            return;
        }
        yield_!(1);
    }

    #[sse_endpoint("/try-stream/{how}")]
    async fn try_stream(Path(how): Path<String>) -> impl Stream<Item = Result<u64, Oops>> {
        assert_ne!(how, "panic", "on purpose");
        match how.as_str() {
            "finish" => return,
            "fail" => return Err(Oops),
            _ => yield_!(1),
        }
    }

    #[sse_endpoint("/response/{how}")]
    async fn response(Path(how): Path<String>) -> Result<impl Stream<Item = u64>, StatusCode> {
        yield_all!(tokio_stream::iter((how == "finish").then_some(0)).take(0));
        assert_ne!(how, "panic", "on purpose");
        if how != "finish" {
            yield_!(1);
        }
    }

    #[sse_endpoint("/try-response/{how}")]
    async fn try_response(
        Path(how): Path<String>,
    ) -> Result<impl Stream<Item = Result<u64, Oops>>, StatusCode> {
        yield_all!(tokio_stream::iter([0; 0]));
        assert_ne!(how, "panic", "on purpose");
        match how.as_str() {
            "finish" => return,
            "fail" => return Err(Oops),
            _ => yield_!(1),
        }
    }

    /// Returns the status and body of the response, and whether the body was cut off.
    async fn read(addr: SocketAddr, path: &str) -> (u16, String, bool) {
        let url = format!("http://{addr}{path}");
        let mut response = reqwest::get(url).await.unwrap();
        let status = response.status().as_u16();
        let mut text = String::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => text.push_str(std::str::from_utf8(&chunk).unwrap()),
                Ok(None) => return (status, text, false),
                Err(_) => return (status, text, true),
            }
        }
    }

    async fn assert_each_end(addr: SocketAddr) {
        for form in ["stream", "try-stream", "response", "try-response"] {
            for (how, text, is_cut_off) in [
                ("yield", "data: 1\n\n", false),
                ("finish", "", false),
                ("panic", "", true),
                ("fail", "event: error\ndata: null\n\n", false),
            ] {
                if how == "fail" && !form.starts_with("try") {
                    continue;
                }
                let path = format!("/{form}/{how}");
                let expected = (200, text.to_owned(), is_cut_off);
                assert_eq!(read(addr, &path).await, expected, "{path}");
            }
        }
    }

    fn app() -> Router {
        Router::new()
            .sse(stream)
            .sse(try_stream)
            .sse(response)
            .sse(try_response)
    }

    #[tokio::test]
    async fn serve_sends_a_stream() {
        assert_each_end(serve(app()).await).await;
    }

    #[tokio::test]
    async fn serve_in_hyper_sends_a_stream() {
        let server = Server::new(app()).bypass_hyper(false);
        assert_each_end(serve_as(server).await).await;
    }

    #[tokio::test]
    async fn axum_serve_sends_a_stream() {
        assert_each_end(serve_plain(app()).await).await;
    }
}

#[tokio::test]
async fn first_event_shares_the_write_of_the_head() {
    #[sse_endpoint("/one", retry = "3s")]
    async fn one() -> impl Stream<Item = u64> {
        yield_!(1);
        std::future::pending::<()>().await;
    }
    let mut client = Client::get(serve(Router::new().sse(one)).await, "/one").await;
    // `head` stops reading once the head has arrived, so the event must have arrived in the same
    // read as the head.
    client.head().await;
    assert_eq!(client.received(), "15\r\nretry: 3000\ndata: 1\n\n\r\n");
}
