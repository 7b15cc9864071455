//! Clients that read too slowly.

use std::net::SocketAddr;

use axum::{Router, extract::State};
use sse_runtime::{LastEventId, Start, Stream, Topic, sse_endpoint, topic::TopicBuilder};
use support::{Client, SseRouterExt as _, Store, publish_all, serve};
use test_case::test_case;
use tokio::net::TcpStream;

use super::{Account, account, ask, narrow};

type Large = (u64, String);

#[sse_endpoint("/large")]
async fn large(State(topic): State<Topic<Large>>, last: LastEventId) -> impl Stream<Item = Large> {
    yield_all!(topic.subscribe(last.or(Start::First)));
}

const HELD_OF_LARGE: usize = 16;
const ALL_LARGE: u64 = 5_000;

/// The client reads the first event and then pauses while the test publishes far more data than all
/// buffers can hold. After that, the client reads everything.
async fn overtaken(
    store: &Store,
    configure: impl FnOnce(TopicBuilder<Large>) -> TopicBuilder<Large>,
) -> (Account, SocketAddr) {
    let topic = Topic::builder().keep(HELD_OF_LARGE);
    let topic = store.topic(configure(topic)).await;
    let event = |number: u64| (number, "x".repeat(4_000));
    let app = Router::new().sse(large).with_state(topic.clone());
    let addr = serve(app).await;
    topic.publish(&event(1)).await.unwrap();
    let mut client = Client::over(ask(narrow(addr).await, "/large", "").await);
    client.head().await;
    let mut all = client.expect_chunk().await;
    // Publishing the events one by one to a log would take too long.
    let at_once = match store {
        Store::Memory => 1,
        Store::Log(_) => 100,
    };
    for first in (2..=ALL_LARGE).step_by(at_once) {
        let last = ALL_LARGE.min(first + at_once as u64 - 1);
        publish_all(&topic, (first..=last).map(event)).await;
        tokio::task::yield_now().await;
    }
    topic.finish().await.unwrap();
    while let Some(chunk) = client.chunk().await.unwrap() {
        all += &chunk;
    }
    (account(store, &all, 0), addr)
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn slow_client_resumes_at_the_oldest_held_event(store: Store) {
    let (told, _) = overtaken(&store, |builder| builder).await;
    let missed: u64 = told.gaps.iter().map(|(_, missed)| missed).sum();
    assert!(told.gaps.iter().all(|(reason, _)| reason == "overtaken"));
    assert_eq!(told.events + missed, ALL_LARGE);
    assert_eq!(told.last, ALL_LARGE);
    let held = ALL_LARGE - HELD_OF_LARGE as u64;
    assert!(
        told.rest.iter().copied().eq(held + 1..=ALL_LARGE),
        "{:?}",
        told.rest
    );
    let end = told.end.unwrap();
    assert!(end.starts_with("event: done\nid: "), "{end:?}");
    assert!(end.ends_with("~done\ndata: null"), "{end:?}");
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn slow_client_resumes_at_the_newest_event(store: Store) {
    let (told, _) = overtaken(&store, TopicBuilder::latest).await;
    let missed: u64 = told.gaps.iter().map(|(_, missed)| missed).sum();
    assert_eq!(told.events + missed, ALL_LARGE);
    assert_eq!(told.rest, [ALL_LARGE]);
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn slow_client_receives_the_newest_of_each_key(store: Store) {
    // Event 4,000 is the only event with key 3. It was published long before the last events.
    let key = |(number, _): &Large| if *number == 4_000 { 3 } else { number % 3 };
    let (told, _) = overtaken(&store, |builder| builder.latest_by(key)).await;
    let missed: u64 = told.gaps.iter().map(|(_, missed)| missed).sum();
    assert_eq!(told.events + missed, ALL_LARGE);
    assert_eq!(told.rest, [4_000, ALL_LARGE - 2, ALL_LARGE - 1, ALL_LARGE]);
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn slow_client_is_disconnected_and_resumes(store: Store) {
    let (told, addr) = overtaken(&store, TopicBuilder::disconnect).await;
    assert_eq!(told.gaps, []);
    assert_eq!(
        told.end.unwrap(),
        "event: close\ndata: {\"reason\":\"lagged\"}"
    );
    assert!(
        told.last < ALL_LARGE - HELD_OF_LARGE as u64,
        "the reader was not overtaken"
    );

    let socket = TcpStream::connect(addr).await.unwrap();
    let mut back = Client::over(ask(socket, "/large", &told.last_id).await);
    back.head().await;
    let mut all = String::new();
    while let Some(chunk) = back.chunk().await.unwrap() {
        all += &chunk;
    }
    let again = account(&store, &all, told.last);
    let missed = ALL_LARGE - HELD_OF_LARGE as u64 - told.last;
    assert_eq!(again.gaps, [("too_old".to_owned(), missed)]);
    assert_eq!(told.events + missed + again.events, ALL_LARGE);
}
