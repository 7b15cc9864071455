//! Tests named topics and how long a hub keeps them.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
};
use schemars::JsonSchema;
use sse_runtime::{
    Event, Hub, LastEventId, Start, Stream, Topic, sse_endpoint, testing,
    topic::{GapReason, HubError},
};
use support::{SseRouterExt as _, Store, within};
use test_case::test_case;
use tokio::sync::mpsc;
use tokio::time::advance;

use super::{IDLE, has_subscribed, hub, hub_builder, pass, publish, read, ready, values};

#[tokio::test(start_paused = true)]
async fn topic_is_created_on_use_and_dropped_when_idle() {
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let hub: Hub<String> = Hub::builder(move || {
        count.fetch_add(1, Ordering::Relaxed);
        Topic::builder().keep(10)
    })
    .idle(IDLE)
    .build();
    assert_eq!((hub.len(), made.load(Ordering::Relaxed)), (0, 0));
    assert!(hub.get("a").is_none());
    let held = hub.topic("a").await.unwrap();
    publish(&hub, "a", 1).await;
    publish(&hub, "b", 1).await;
    let mut updates = hub.subscribe(["c"], Start::Now).await.unwrap();
    assert_eq!((hub.len(), made.load(Ordering::Relaxed)), (3, 3));
    let of_b = hub.get("b").unwrap().subscribe(Start::First).position();

    pass(IDLE * 3).await;
    // Only the unused `b` is dropped, because `a` still has a handle and `c` has a reader.
    assert_eq!(hub.len(), 2);
    assert!(hub.get("b").is_none());
    publish(&hub, "c", 1).await;
    assert_eq!(values(&mut updates), ["1"]);

    // The new `b` topic has a different epoch, so a reader of the old topic receives a gap.
    publish(&hub, "b", 2).await;
    let mut back = hub.get("b").unwrap().subscribe(of_b);
    let gap = read(&mut back).remove(0).unwrap_err();
    assert_eq!(gap.reason(), GapReason::OtherEpoch);

    drop((held, updates, back));
    // A topic that is accessed from time to time is kept.
    for _ in 0..10 {
        pass(IDLE / 2).await;
        assert!(hub.get("a").is_some());
    }
    assert_eq!(hub.len(), 1);
    pass(IDLE * 3).await;
    assert_eq!(hub.len(), 0);
}

/// The methods of a hub whose topics are in memory complete when they are first polled, even outside
/// of a runtime.
#[test]
fn in_memory_hub_never_waits() {
    let hub = hub_builder(10).build();
    let topic = ready(hub.topic("a")).unwrap();
    ready(topic.publish(&"1".to_owned())).unwrap();
    let mut updates = ready(hub.subscribe(["a", "b"], Start::First)).unwrap();
    assert_eq!(values(&mut updates), ["1"]);
    ready(topic.finish()).unwrap();
    assert!(ready(hub.resume("a", Start::First)).unwrap().is_some());
}

#[sse_endpoint("/rooms/{room}")]
async fn room(
    Path(room): Path<String>,
    State(rooms): State<Hub<String>>,
    last: LastEventId,
) -> Result<impl Stream<Item = String>, HubError> {
    let room = rooms.topic(&room).await?;
    yield_all!(room.subscribe(last));
}

#[tokio::test(start_paused = true)]
async fn random_names_do_not_grow_a_full_hub() {
    let hub = hub_builder(10).idle(IDLE).max_topics(3).build();
    let client = testing::Client::new(Router::new().sse(room).with_state(hub.clone()));
    let mut open = Vec::new();
    for name in ["/rooms/a", "/rooms/b", "/rooms/c"] {
        let mut events = client.get(name).await.events();
        has_subscribed(&mut events);
        open.push(events);
    }
    for _ in 0..2 {
        let rejected = client.get("/rooms/d").await;
        assert_eq!(rejected.status(), StatusCode::TOO_MANY_REQUESTS);
        let after: u64 = rejected.header("retry-after").unwrap().parse().unwrap();
        assert!((5..15).contains(&after));
        assert_eq!(hub.len(), 3);
        pass(IDLE * 2).await;
    }
    // Existing topics are not rejected.
    let response = client.get("/rooms/a").await;
    assert_eq!(response.status(), StatusCode::OK);
    drop(response);
    open.pop();
    pass(IDLE * 2).await;
    // A rejected subscription does not create a topic.
    let full = hub
        .subscribe(["a", "d", "e"], Start::Now)
        .await
        .unwrap_err();
    assert_eq!(full, HubError::Full);
    assert_eq!(hub.len(), 2);
    assert_eq!(client.get("/rooms/d").await.status(), StatusCode::OK);
}

/// The hub finds the topic to drop without scanning all topics.
#[tokio::test(start_paused = true)]
async fn full_hub_drops_the_least_recently_used_topic() {
    let hub = hub_builder(10).idle(IDLE).max_topics(4).build();
    let run = async |name: &str| {
        let say =
            |topic: Topic<String>| async move { topic.publish(&String::new()).await.map(drop) };
        let mut updates = hub.spawn(name, Start::First, say).await.unwrap();
        while within("the end of the run", updates.next()).await.is_some() {}
        advance(Duration::from_secs(1)).await;
    };
    publish(&hub, "room", 1).await;
    advance(Duration::from_secs(1)).await;
    for name in ["a", "b", "c"] {
        run(name).await;
    }
    // `a` is accessed again, so `b` is now the least recently used topic.
    assert!(hub.get("a").is_some());
    advance(Duration::from_secs(1)).await;
    let names = |hub: &Hub<String>| BTreeSet::from_iter(hub.names());
    run("d").await;
    assert_eq!(
        names(&hub),
        BTreeSet::from(["room", "c", "a", "d"].map(str::to_owned))
    );
    let e = hub.topic("e").await.unwrap();
    let f = hub.topic("f").await.unwrap();
    assert_eq!(
        names(&hub),
        BTreeSet::from(["room", "d", "e", "f"].map(str::to_owned))
    );
    let reader = hub.get("d").unwrap().subscribe(Start::First);
    // The new topic replaces the last unused one.
    let g = hub.topic("g").await.unwrap();
    assert_eq!(
        names(&hub),
        BTreeSet::from(["d", "e", "f", "g"].map(str::to_owned))
    );
    for _ in 0..3 {
        assert_eq!(hub.topic("h").await.unwrap_err(), HubError::Full);
    }
    // A rejected subscription does not drop a topic.
    drop(reader);
    assert_eq!(
        hub.subscribe(["h", "i"], Start::Now).await.unwrap_err(),
        HubError::Full
    );
    assert!(hub.get("d").is_some());
    assert!(hub.topic("h").await.is_ok());
    assert!(hub.get("d").is_none());
    drop((e, f, g));
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn topics_stay_if_idle_is_infinite(store: Store) {
    let hub = hub_builder(10).idle(Duration::MAX).max_topics(1);
    let hub = store.hub(hub).await;
    publish(&hub, "a", 1).await;
    assert_eq!(hub.topic("b").await.unwrap_err(), HubError::Full);
    assert_eq!(hub.names(), ["a"]);
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn full_hub_drops_unread_runs(store: Store) {
    const EACH: usize = 100_000;
    let hub = store.hub(hub_builder(10).max_bytes(10 * EACH)).await;
    let in_use = hub.topic("in use").await.unwrap();
    in_use.publish(&"x".repeat(EACH)).await.unwrap();
    for number in 0..100 {
        let say = move |topic: Topic<String>| async move {
            topic.publish(&"x".repeat(EACH)).await.map(drop)
        };
        let name = number.to_string();
        let mut updates = hub.spawn(&name, Start::First, say).await.unwrap();
        while within("the end of the run", updates.next()).await.is_some() {}
        // Each event counts twice because the hub holds both the value and the frame.
        assert!(hub.held_bytes() < 13 * EACH, "{}", hub.held_bytes());
    }
    // The newest runs are kept.
    assert!(hub.get("99").is_some() && hub.get("0").is_none());
    assert!(hub.get("in use").is_some());
    // Topics in use are kept. While such topics fill the hub, no new topic can be created.
    for _ in 0..9 {
        in_use.publish(&"x".repeat(EACH)).await.unwrap();
    }
    assert_eq!(hub.topic("new").await.unwrap_err(), HubError::Full);
    assert!(hub.topic("in use").await.is_ok());
    drop(in_use);
    assert!(hub.topic("new").await.is_ok());
}

#[tokio::test]
async fn rejections_are_logged_once() {
    use axum::response::IntoResponse as _;
    let log = support::log::Log::capture();
    let reject = || {
        let status = HubError::Full.into_response().status();
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    };
    // The message is logged at most once a second. If another test in this process has just logged
    // the message, the first rejections are not logged.
    let start = std::time::Instant::now();
    while !log.text().contains("rejected requests for new topics") && start.elapsed().as_secs() < 10
    {
        reject();
    }
    for _ in 0..1_000 {
        reject();
    }
    let lines = log
        .text()
        .matches("rejected requests for new topics")
        .count();
    assert!((1..10).contains(&lines), "{lines} lines");
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn long_name_is_rejected(store: Store) {
    let hub = hub(&store, 10).await;
    let client = testing::Client::new(Router::new().sse(room).with_state(hub.clone()));
    let longest = match store {
        Store::Memory => "x".repeat(1024),
        // The name in the log begins with the hub's prefix.
        Store::Log(_) => "x".repeat(1024 - "0/".len()),
    };
    let response = client.get(&format!("/rooms/{longest}")).await;
    assert_eq!(response.status(), StatusCode::OK);
    let response = client.get(&format!("/rooms/{longest}x")).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let long = longest.clone() + "x";
    let run = hub
        .spawn(&long, Start::First, async |_| ())
        .await
        .unwrap_err();
    assert_eq!(run, HubError::NameTooLong);
    let several = hub.subscribe(["a", &long], Start::Now).await.unwrap_err();
    assert_eq!(several, HubError::NameTooLong);
    assert_eq!(hub.names(), [longest]);
}

/// A value whose destructor uses the hub.
#[derive(serde::Serialize, JsonSchema)]
struct Asks {
    #[serde(skip)]
    hub: Hub<Asks>,
    #[serde(skip)]
    dropped: mpsc::UnboundedSender<usize>,
}

impl Drop for Asks {
    fn drop(&mut self) {
        let _ = self.dropped.send(self.hub.len());
    }
}

#[tokio::test(start_paused = true)]
async fn value_dropped_with_its_topic_can_use_the_hub() {
    let hub: Hub<Asks> = Hub::builder(|| Topic::builder().keep(4))
        .idle(Duration::from_secs(60))
        .build();
    let (dropped, mut asked) = mpsc::unbounded_channel();
    let asks = Asks {
        hub: hub.clone(),
        dropped,
    };
    let topic = hub.topic("a").await.unwrap();
    topic.publish_event(Event::json(asks)).await.unwrap();
    drop(topic);
    // The clock is paused and advances only when all tasks are waiting.
    assert_eq!(asked.recv().await, Some(0));
}
