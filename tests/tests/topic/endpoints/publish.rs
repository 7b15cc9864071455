//! Tests the types that can be published, and events that have side effects when they are
//! serialized or dropped.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{Router, extract::State};
use schemars::JsonSchema;
use sse_runtime::{
    Event, SseEvent, Start, Stream, Topic, sse_endpoint, testing, topic::PublishError,
};
use support::{SseRouterExt as _, Store};
use test_case::test_case;
use tokio::runtime::Builder;

use super::{all, has_subscribed};

/// A value that reads its own topic during serialization.
#[derive(Clone)]
struct Newest(Topic<u64>);

impl serde::Serialize for Newest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut updates = self.0.subscribe(Start::Latest(1));
        let mut context = Context::from_waker(Waker::noop());
        match pin!(updates.next()).poll(&mut context) {
            Poll::Ready(Some(newest)) => serializer.serialize_u64(*newest),
            _ => serializer.serialize_none(),
        }
    }
}

#[sse_endpoint("/newest")]
async fn newest(State(topic): State<Topic<u64>>) -> impl Stream<Item = Newest> {
    yield_!(Newest(topic));
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn value_can_read_its_topic_while_serialized(store: Store) {
    let topic: Topic<u64> = store.topic(Topic::builder().keep(16)).await;
    topic.publish(&7).await.unwrap();
    let client = testing::Client::new(Router::new().sse(newest).with_state(topic));
    let all = client.get("/newest").await.text().await;
    assert_eq!(all, "data: 7\n\n");
}

#[derive(Clone, SseEvent, JsonSchema)]
struct WithId {
    #[sse(id)]
    id: u64,
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn publish_accepts_events_without_ids(store: Store) {
    let topic: Topic<u64> = store.topic(Topic::builder().keep(16)).await;
    let client = testing::Client::new(Router::new().sse(all).with_state(topic.clone()));
    let mut events = client.get("/all").await.events();
    has_subscribed(&mut events);
    let now = match store {
        Store::Memory => topic.try_publish(&1).unwrap(),
        Store::Log(_) => {
            let rejected = topic.try_publish(&1);
            assert!(matches!(rejected, Err(PublishError::TakesTime)));
            topic.publish(&1).await.unwrap()
        }
    };
    let named = Event::json(2)
        .event("named")
        .retry(Duration::from_secs(3))
        .with_comment("two");
    let named = topic.publish_event(named).await.unwrap();
    let got = events.expect_event().await;
    assert_eq!(
        (got.event, got.data, got.id),
        ("message".into(), "1".into(), now.to_string())
    );
    let got = events.expect_event().await;
    assert_eq!(
        (got.event, got.data, got.id),
        ("named".into(), "2".into(), named.to_string())
    );
    assert_eq!(events.retry(), Some(Duration::from_secs(3)));

    let rejected = topic.publish_event(Event::json(3).id(7_u64)).await;
    assert!(
        matches!(
            rejected,
            Err(PublishError::NotForTopics { what: "an id", .. })
        ),
        "{rejected:?}"
    );
    // The event is rejected before it reaches a log, so this topic is in memory.
    let ids: Topic<WithId> = Topic::in_memory(16);
    let rejected = ids.publish(&WithId { id: 7 }).await;
    assert!(
        matches!(
            rejected,
            Err(PublishError::NotForTopics { what: "an id", .. })
        ),
        "{rejected:?}"
    );
    let next = topic.publish(&4).await.unwrap();
    // No sequence numbers were assigned to the rejected events.
    assert_eq!(store.number(&next.to_string()), 3);
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn topic_of_capacity_zero_holds_the_newest(store: Store) {
    let topic: Topic<u64> = store.topic(Topic::builder().keep(0)).await;
    let mut updates = topic.subscribe(Start::Now);
    topic.publish(&1).await.unwrap();
    assert_eq!(**updates.recv().await.unwrap().as_ref().unwrap(), 1);
}

/// An event whose destructor uses the topic.
#[derive(Clone, serde::Serialize, serde::Deserialize, JsonSchema)]
struct WithDestructor {
    #[serde(skip)]
    _reader: Arc<ReadsOnDrop>,
}

#[derive(Default)]
struct ReadsOnDrop(std::sync::Weak<Topic<WithDestructor>>);

impl Drop for ReadsOnDrop {
    fn drop(&mut self) {
        if let Some(topic) = self.0.upgrade() {
            topic.subscribers();
        }
    }
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
fn event_is_dropped_outside_the_lock(store: Store) {
    let (done, is_done) = std::sync::mpsc::channel();
    let publish = async move {
        let topic = Topic::builder().keep(2).latest_by(|_: &WithDestructor| ());
        let topic = Arc::new(store.topic(topic).await);
        for _ in 0..4 {
            let reader = ReadsOnDrop(Arc::downgrade(&topic));
            let event = WithDestructor {
                _reader: Arc::new(reader),
            };
            topic.publish(&event).await.unwrap();
        }
        done.send(()).unwrap();
    };
    std::thread::spawn(|| {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(publish);
    });
    is_done
        .recv_timeout(Duration::from_secs(15))
        .expect("the publisher should not deadlock");
}
