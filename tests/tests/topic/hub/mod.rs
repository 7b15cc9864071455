//! Tests hubs: named topics, IDs that combine several topics, runs that outlive their clients, and
//! presence.

mod by_id;
mod failure;
mod names;
mod presence;
mod presence_rooms;
mod runs;
mod several;

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, State},
};
use schemars::JsonSchema;
use sse_runtime::{
    EventId, Hub, LastEventId, Start, Stream, Topic, sse_endpoint, testing,
    topic::{Gap, HubBuilder, HubError, Subscription},
};
use support::{SseRouterExt as _, Store, within};
use tokio::{sync::Semaphore, task::yield_now, time::advance};

fn hub_builder(events: usize) -> HubBuilder<String> {
    Hub::builder(move || Topic::builder().keep(events))
}

async fn hub(store: &Store, events: usize) -> Hub<String> {
    store.hub(hub_builder(events)).await
}

/// If the topics are stored in a log, opens them, so that the hub's methods complete when they are
/// first polled, as they always do for topics in memory.
async fn open_stored(store: &Store, hub: &Hub<String>, names: &[&str]) {
    if let Store::Log(_) = store {
        hub.subscribe(names, Start::Now).await.unwrap();
    }
}

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Returns the output of a future that completes when it is first polled. This applies to all
/// methods of a hub whose topics are in memory or open.
fn ready<F: Future>(future: F) -> F::Output {
    match poll_once(future) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future is pending"),
    }
}

/// Polls a stream until its generator waits. The stream must not have sent any events. The first
/// poll processes only the head.
fn has_subscribed(events: &mut testing::Events) {
    for _ in 0..2 {
        assert!(poll_once(events.next()).is_pending());
    }
}

/// Reads all available updates and their IDs.
fn read(updates: &mut Subscription<String>) -> Vec<Result<(String, String), Gap>> {
    let mut read = Vec::new();
    while let Poll::Ready(Some(seen)) = poll_once(updates.recv()) {
        read.push(seen.map(|update| ((*update).clone(), update.id().to_string())));
    }
    read
}

fn values(updates: &mut Subscription<String>) -> Vec<String> {
    let read = read(updates).into_iter();
    read.map(|seen| seen.unwrap().0).collect()
}

async fn publish(hub: &Hub<String>, name: &str, value: impl std::fmt::Display) {
    let topic = hub.topic(name).await.unwrap();
    topic.publish(&value.to_string()).await.unwrap();
}

fn id(text: impl Into<String>) -> EventId {
    EventId::new(text.into()).unwrap()
}

/// Reads the topics named in the path's comma-separated list.
#[sse_endpoint("/several/{names}")]
async fn several(
    Path(names): Path<String>,
    State(hub): State<Hub<String>>,
    last: LastEventId,
) -> Result<impl Stream<Item = String>, HubError> {
    let updates = hub.subscribe(names.split(','), last).await?;
    yield_all!(updates);
}

const IDLE: Duration = Duration::from_secs(60);

/// Advances the clock and lets the hub's task run.
async fn pass(time: Duration) {
    let step = Duration::from_secs(1);
    let mut left = time;
    while !left.is_zero() {
        advance(step.min(left)).await;
        left = left.saturating_sub(step);
        yield_now().await;
    }
}

#[derive(Clone)]
struct Answers {
    hub: Hub<String>,
    started: Arc<AtomicUsize>,
    /// Each permit allows a run to publish one word.
    words: Arc<Semaphore>,
}

impl Answers {
    async fn new(store: &Store) -> Self {
        Self {
            hub: store.hub(hub_builder(100).idle(IDLE)).await,
            started: Arc::default(),
            words: Arc::new(Semaphore::new(0)),
        }
    }

    fn client(&self) -> testing::Client {
        testing::Client::new(Router::new().sse(answer).with_state(self.clone()))
    }
}

#[derive(serde::Serialize, JsonSchema)]
#[serde(untagged)]
enum OutOfWords {
    Shown {
        code: &'static str,
        status: u16,
    },
    #[serde(serialize_with = "fails")]
    Broken,
}

fn fails<S: serde::Serializer>(_: S) -> Result<S::Ok, S::Error> {
    Err(serde::ser::Error::custom("on purpose"))
}

/// Spawns a run that publishes five words, unless the run's name requests a failure.
#[sse_endpoint("/answers/{id}")]
async fn answer(
    Path(id): Path<String>,
    State(answers): State<Answers>,
    last: LastEventId,
) -> Result<impl Stream<Item = String>, HubError> {
    let Answers {
        hub,
        started,
        words,
    } = answers;
    let name = id.clone();
    let updates = hub
        .spawn(&id, last, |topic| async move {
            started.fetch_add(1, Ordering::Relaxed);
            for number in 1..=5 {
                words.acquire().await.unwrap().forget();
                if number == 3 {
                    match name.as_str() {
                        "panics" => panic!("on purpose"),
                        "fails" => {
                            return Err(OutOfWords::Shown {
                                code: "out_of_words",
                                status: 503,
                            });
                        }
                        "fails-unseen" => return Err(OutOfWords::Broken),
                        _ => {}
                    }
                }
                topic.publish(&format!("word {number}")).await.unwrap();
            }
            Ok(())
        })
        .await?;
    yield_all!(updates);
}

async fn words(events: &mut testing::Events) -> Vec<String> {
    let mut words = Vec::new();
    while let Some(event) = within("a word", events.next()).await.unwrap() {
        if event.event == "done" {
            assert!(event.id.ends_with("~done"), "{event:?}");
            within("the end of the stream", events.expect_end()).await;
            break;
        }
        words.push(event.json());
    }
    words
}

fn five() -> Vec<String> {
    (1..=5).map(|number| format!("word {number}")).collect()
}

/// Reads a stream up to its final error event. Returns the words, and the data and ID of that
/// event.
async fn words_and_error(events: &mut testing::Events) -> (Vec<String>, String, String) {
    let mut words = Vec::new();
    loop {
        let event = within("an event", events.next()).await.unwrap();
        let event = event.expect("an error before the end");
        assert_ne!(event.event, "done", "{event:?}");
        if event.event == "error" {
            within("the end of the stream", events.expect_end()).await;
            return (words, event.data, event.id);
        }
        words.push(event.json());
    }
}

const WITHOUT_DETAILS: &str =
    r#"{"title":"Internal Server Error","code":"internal_error","status":500}"#;
