//! Tests how many writes and copies a topic's events require.

use axum::{Router, body::Body, extract::State, http::Request};
use sse_runtime::{Start, Stream, Topic, sse_endpoint, testing};
use support::{SseRouterExt as _, Store, publish_all, serve};
use test_case::test_case;
use tokio_stream::StreamExt as _;
use tower_service::Service as _;

use super::{all, frames, number_frame, numbers, reconnect};

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn queued_updates_share_a_write(store: Store) {
    const EVENTS: u64 = 1_000;
    for path in ["/numbers", "/all"] {
        let topic = store.topic(Topic::builder().keep(4_096)).await;
        let start = topic.subscribe(Start::Now).position().to_string();
        let ids = publish_all(&topic, 1..=EVENTS).await;
        let app = Router::new().sse(numbers).sse(all);
        let addr = serve(app.with_state(topic.clone())).await;
        let mut client = reconnect(addr, path, start.as_bytes(), false).await;
        let (mut chunks, mut got) = (0, Vec::new());
        while (got.len() as u64) < EVENTS {
            got.extend(frames(&client.expect_chunk().await));
            chunks += 1;
        }
        let expected = (1..=EVENTS).zip(&ids);
        let expected = expected.map(|(number, id)| number_frame(id, number));
        assert!(got.iter().eq(&expected.collect::<Vec<_>>()), "{path}");
        // A write contains at most 64 events. If other tasks ran in between, the write contains
        // fewer.
        assert!(chunks <= 60, "{chunks} writes for {EVENTS} events");
        // A client that is up to date receives each event immediately and in a separate write.
        for number in 1..=3 {
            topic.publish(&number).await.unwrap();
            assert_eq!(frames(&client.expect_chunk().await).len(), 1);
        }
    }
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn large_event_has_its_own_write(store: Store) {
    let topic: Topic<String> = store.topic(Topic::builder().keep(64)).await;
    for _ in 0..8 {
        topic.publish(&"x".repeat(10_000)).await.unwrap();
    }
    topic.finish().await.unwrap();
    let client = testing::Client::new(Router::new().sse(strings).with_state(topic));
    let all = client.get("/strings").await.text().await;
    assert_eq!(all.matches("data: \"x").count(), 8);
}

#[sse_endpoint("/strings")]
async fn strings(State(topic): State<Topic<String>>) -> impl Stream<Item = String> {
    yield_all!(topic.subscribe(Start::First));
}

#[sse_endpoint("/letters")]
async fn letters(State(topic): State<Topic<String>>) -> impl Stream<Item = String> {
    yield_all!(topic.subscribe(Start::First));
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn large_event_is_shared_by_its_readers(store: Store) {
    let topic: Topic<String> = store.topic(Topic::builder().keep(16)).await;
    for text in ["small", &"large ".repeat(2_000), "small again"] {
        topic.publish(&text.to_owned()).await.unwrap();
    }
    topic.finish().await.unwrap();
    let app = Router::new().sse(letters).with_state(topic);
    let mut larges = Vec::new();
    for _ in 0..2 {
        let request = Request::get("/letters").body(Body::empty()).unwrap();
        let Ok(response) = app.clone().call(request).await;
        let mut frames = response.into_body().into_data_stream();
        let (mut all, mut large) = (String::new(), None);
        while let Some(frame) = frames.next().await {
            let frame = frame.unwrap();
            all.push_str(std::str::from_utf8(&frame).unwrap());
            if frame.len() > 10_000 {
                large = Some(frame);
            }
        }
        let positions =
            ["\"small\"", "\"large ", "\"small again\"", "~done"].map(|what| all.find(what));
        assert!(positions.is_sorted() && positions[0].is_some(), "{all:?}");
        larges.push(large.unwrap());
    }
    // The streams share the same bytes instead of copying them.
    assert_eq!(larges[0].as_ptr(), larges[1].as_ptr());
}
