//! Each event is encoded once for all readers.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{Router, extract::State};
use sse_runtime::{LastEventId, Stream, Topic, sse_endpoint, testing};
use support::{SseRouterExt as _, Store};
use test_case::test_case;

/// A value that counts how often it is serialized.
#[derive(Clone)]
struct Costly(Arc<AtomicU64>);

impl serde::Serialize for Costly {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.fetch_add(1, Ordering::Relaxed);
        serializer.serialize_str("costly")
    }
}

impl<'de> serde::Deserialize<'de> for Costly {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?;
        Ok(Self(Arc::default()))
    }
}

#[sse_endpoint("/costly")]
async fn costly(
    State(topic): State<Topic<Costly>>,
    last: LastEventId,
) -> impl Stream<Item = Costly> {
    yield_all!(topic.subscribe(last));
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn event_is_not_encoded_again_for_each_client(store: Store) {
    const CLIENTS: usize = 10_000;
    let topic: Topic<Costly> = store.topic(Topic::builder().keep(16)).await;
    let client = testing::Client::new(Router::new().sse(costly).with_state(topic.clone()));
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut events = client.get("/costly").await.events();
        // The first poll processes only the head. The second poll runs the generator until it
        // waits.
        for _ in 0..2 {
            let waits = poll_fn(|cx| {
                let next = std::pin::pin!(events.next());
                std::task::Poll::Ready(next.poll(cx).is_pending())
            });
            assert!(waits.await);
        }
        clients.push(events);
    }
    assert_eq!(topic.subscribers(), CLIENTS);
    let count = Arc::new(AtomicU64::new(0));
    let id = topic.publish(&Costly(Arc::clone(&count))).await.unwrap();
    for events in &mut clients {
        let event = events.expect_event().await;
        assert_eq!(
            (event.data, event.id),
            ("\"costly\"".to_owned(), id.to_string())
        );
    }
    // With a log, the value is serialized twice: for the frame, and to store the value.
    let times = match store {
        Store::Memory => 1,
        Store::Log(_) => 2,
    };
    assert_eq!(count.load(Ordering::Relaxed), times);
    drop(clients);
    assert_eq!(topic.subscribers(), 0);
}
