//! Relays that abort the response if their upstream is cut off.

use std::{
    future::ready,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode};
use serde_json::{Value, json};
use sse_runtime::{
    SseRouterExt as _, Start, Stream, Topic, first_ok, relay, sse_endpoint, testing,
};

use super::{Broken, broken};
use support::log::Log;

/// Counts the endpoint functions that continued after their relay had failed.
#[derive(Clone, Default)]
struct Continued(Arc<AtomicUsize>);

impl Continued {
    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn cut_off() -> impl Stream<Item = Result<Bytes, io::Error>> {
    tokio_stream::iter(broken(&["data: 1\n\ndata: 2\n\n"]))
}

#[sse_endpoint("/mapped")]
async fn mapped(State(continued): State<Continued>) -> impl Stream<Item = Value> {
    yield_all!(relay(cut_off()).map(|event| event).abort_on_error());
    continued.add();
}

#[sse_endpoint("/mapped_after_first")]
async fn mapped_after_first(
    State(continued): State<Continued>,
) -> Result<impl Stream<Item = Value>, Broken> {
    let events = first_ok(relay(cut_off())).await?;
    yield_all!(events.map(|event| event).abort_on_error());
    continued.add();
}

#[sse_endpoint("/first_of_mapped")]
async fn first_of_mapped(
    State(continued): State<Continued>,
) -> Result<impl Stream<Item = Value>, Broken> {
    let events = first_ok(relay(cut_off()).map(|event| event)).await?;
    yield_all!(events.abort_on_error());
    continued.add();
}

#[sse_endpoint("/one_by_one")]
async fn one_by_one(State(continued): State<Continued>) -> impl Stream<Item = Value> {
    let mut events = relay(cut_off()).abort_on_error();
    while let Some(event) = events.next().await {
        yield_!(event);
    }
    continued.add();
}

#[sse_endpoint("/one_by_one_after_first")]
async fn one_by_one_after_first(
    State(continued): State<Continued>,
) -> Result<impl Stream<Item = Value>, Broken> {
    let mut events = first_ok(relay(cut_off())).await?.abort_on_error();
    while let Some(event) = events.next().await {
        yield_!(event);
    }
    continued.add();
}

#[tokio::test]
async fn function_ends_where_its_response_is_aborted() {
    let continued = Continued::default();
    let app = Router::new()
        .sse(mapped)
        .sse(mapped_after_first)
        .sse(first_of_mapped)
        .sse(one_by_one)
        .sse(one_by_one_after_first)
        .with_state(continued.clone());
    let client = testing::Client::new(app);
    for path in [
        "/mapped",
        "/mapped_after_first",
        "/first_of_mapped",
        "/one_by_one",
        "/one_by_one_after_first",
    ] {
        let mut events = client.get(path).await.events();
        let data: Vec<_> = events
            .take(2)
            .await
            .into_iter()
            .map(|event| event.data)
            .collect();
        assert_eq!(data, ["1", "2"], "{path}");
        events.expect_cut().await;
        events.disconnect().await;
        assert_eq!(continued.0.load(Ordering::Relaxed), 0, "{path}");
    }
}

#[sse_endpoint("/never_begun")]
async fn never_begun() -> Result<impl Stream<Item = Value>, StatusCode> {
    let upstream = tokio_stream::iter(broken(&[]));
    let mut events = relay(upstream).abort_on_error();
    if events.next().await.is_none() {
        return Err(StatusCode::BAD_GATEWAY);
    }
    yield_!(json!(1));
}

#[tokio::test]
async fn relay_failure_before_the_response_aborts_it() {
    let client = testing::Client::new(Router::new().sse(never_begun));
    client.get("/never_begun").await.events().expect_cut().await;
}

#[tokio::test]
#[should_panic = "`abort_on_error` works only in an event endpoint's function"]
async fn abort_outside_an_endpoint_panics() {
    relay(tokio_stream::iter(broken(&[])))
        .abort_on_error()
        .next()
        .await;
}

/// Awaits a branch that is always ready after its relay has failed.
#[sse_endpoint("/selects")]
async fn selects(State(continued): State<Continued>) -> impl Stream<Item = Value> {
    let mut events = relay(cut_off()).abort_on_error();
    while let Some(event) = events.next().await {
        yield_!(event.clone());
        if event.data() == "2" {
            break;
        }
    }
    tokio::select! {
        biased;
        event = events.next() => yield_!(event.unwrap()),
        () = ready(()) => {}
    }
    // The end of the relay, which follows its error, is not the end of a complete response.
    if events.next().await.is_none() {
        continued.add();
    }
}

#[tokio::test]
async fn failed_relay_never_ends() {
    let continued = Continued::default();
    let app = Router::new().sse(selects).with_state(continued.clone());
    let mut events = testing::Client::new(app).get("/selects").await.events();
    events.take(2).await;
    events.expect_cut().await;
    events.disconnect().await;
    assert_eq!(continued.0.load(Ordering::Relaxed), 0);
}

/// Logs that it is dropped, and then panics.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        tracing::info!("dropping");
        assert!(std::thread::panicking(), "the bomb was dropped");
    }
}

#[sse_endpoint("/bomb")]
async fn bomb() -> impl Stream<Item = Value> {
    let _bomb = Bomb;
    yield_all!(relay(cut_off()).abort_on_error());
}

#[tokio::test]
async fn aborted_generator_is_dropped_in_its_span() {
    let log = Log::capture();
    let client = testing::Client::new(Router::new().sse(bomb));
    let mut events = client.get("/bomb").await.events();
    events.take(2).await;
    events.expect_cut().await;
    events.disconnect().await;
    let text = log.text();
    for message in [
        "the upstream that the stream relays has failed",
        "dropping",
        "one of the generator's destructors panicked",
    ] {
        let line = text.lines().find(|line| line.contains(message));
        let line = line.unwrap_or_else(|| panic!("{message}: {text}"));
        assert!(line.contains("event_stream{"), "{line}");
    }
}

/// An error whose destructor uses a topic, which looks up the stream that is being polled.
#[derive(Debug, thiserror::Error)]
#[error("cut off")]
struct Subscribes(Topic<u64>);

impl Drop for Subscribes {
    fn drop(&mut self) {
        drop(self.0.subscribe(Start::Now));
    }
}

#[sse_endpoint("/two")]
async fn two(State(topic): State<Topic<u64>>) -> impl Stream<Item = Value> {
    let failed = || tokio_stream::iter([Err::<Bytes, _>(Subscribes(topic.clone()))]);
    let mut first = relay(failed()).abort_on_error();
    let mut second = relay(failed()).abort_on_error();
    let (first, _) = tokio::join!(first.next(), second.next());
    yield_!(first.unwrap());
}

#[tokio::test]
async fn several_relays_can_fail_in_one_poll() {
    let app = Router::new().sse(two).with_state(Topic::in_memory(1));
    let client = testing::Client::new(app);
    client.get("/two").await.events().expect_cut().await;
}
