//! Runs. A hub starts at most one run per name.

use std::{
    future::{Pending, pending},
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
use futures_util::FutureExt as _;
use sse_runtime::{
    Hub, LastEventId, Start, Stream, Topic, sse_endpoint, testing,
    topic::{GapReason, HubError, Subscription},
};
use support::{SseRouterExt as _, Store, within};
use test_case::test_case;
use tokio::{
    sync::{Barrier, mpsc},
    task::{JoinSet, yield_now},
};

use super::{
    Answers, IDLE, WITHOUT_DETAILS, five, has_subscribed, hub, hub_builder, open_stored, pass,
    ready, values, words, words_and_error,
};

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_requests_start_one_run(store: Store) {
    let answers = Answers::new(&store).await;
    let client = answers.client();
    let mut readers = JoinSet::new();
    for _ in 0..100 {
        let request = client.get("/answers/1");
        readers.spawn(async move { words(&mut request.await.events()).await });
    }
    answers.words.add_permits(5);
    for words in readers.join_all().await {
        assert_eq!(words, five());
    }
    assert_eq!(answers.started.load(Ordering::Relaxed), 1);
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn run_survives_a_disconnect_and_is_resumed(store: Store) {
    let answers = Answers::new(&store).await;
    let client = answers.client();
    let mut events = client.get("/answers/1").await.events();
    answers.words.add_permits(2);
    assert_eq!(events.expect_event().await.json::<String>(), "word 1");
    let second = events.expect_event().await;
    assert_eq!(second.json::<String>(), "word 2");
    let last = second.id;
    events.disconnect().await;
    answers.words.add_permits(3);
    // The run continues without a client.
    let topic = answers.hub.get("1").unwrap();
    let mut updates = topic.subscribe(Start::Now);
    while within("the end of the run", updates.next()).await.is_some() {}
    assert!(topic.is_finished());
    let mut back = client.get("/answers/1").last_event_id(&last).await.events();
    assert_eq!(words(&mut back).await, five()[2..]);
    let done = back.last_event_id().to_owned();
    let stopped = client.get("/answers/1").last_event_id(&done).await;
    assert_eq!(stopped.status(), StatusCode::NO_CONTENT);

    let mut late = client.get("/answers/1").await.events();
    assert_eq!(words(&mut late).await, five());
    assert_eq!(answers.started.load(Ordering::Relaxed), 1);
}

/// Until the idle time has passed, every client receives all of the run's updates. After that, the
/// name is available again.
#[tokio::test(start_paused = true)]
async fn run_is_dropped_when_idle() {
    let answers = Answers::new(&Store::Memory).await;
    let client = answers.client();
    let events = client.get("/answers/1").await.events();
    answers.words.add_permits(5);
    events.disconnect().await;
    pass(Duration::from_secs(1)).await;
    assert!(answers.hub.get("1").unwrap().is_finished());

    pass(IDLE / 2).await;
    assert_eq!(
        words(&mut client.get("/answers/1").await.events()).await,
        five()
    );
    assert_eq!(answers.started.load(Ordering::Relaxed), 1);
    pass(IDLE * 2).await;
    assert_eq!(answers.hub.len(), 0);
    answers.words.add_permits(5);
    assert_eq!(
        words(&mut client.get("/answers/1").await.events()).await,
        five()
    );
    assert_eq!(answers.started.load(Ordering::Relaxed), 2);
}

/// A client that sends an ID never starts a run, regardless of the ID's value. A second run could
/// cost money, and the client would append the second answer to the first one.
#[tokio::test(start_paused = true)]
async fn client_with_an_id_never_starts_a_run() {
    let answers = Answers::new(&Store::Memory).await;
    let client = answers.client();
    answers.words.add_permits(100);
    let mut events = client.get("/answers/1").await.events();
    events.expect_event().await;
    let last = events.expect_event().await.id;
    events.disconnect().await;
    pass(IDLE * 2).await;
    assert_eq!(answers.hub.len(), 0, "the run should have been dropped");

    let foreign = "0123456789ab-7";
    for (sent, reason) in [
        (last.as_str(), "other_epoch"),
        (foreign, "other_epoch"),
        ("7", "unknown"),
        ("☃", "unknown"),
        ("0123456789ab-7~done", "other_epoch"),
    ] {
        let mut back = client.get("/answers/1").last_event_id(sent).await.events();
        let gap = back.expect_event().await;
        let told = format!(r#"{{"reason":"{reason}","missed":null}}"#);
        assert_eq!((gap.event.as_str(), gap.data), ("gap", told), "{sent}");
        let done = back.expect_event().await;
        assert_eq!(done.event, "done");
        back.expect_end().await;
        // When the client reconnects automatically, it gets a 204 and therefore stops reconnecting.
        let again = client.get("/answers/1").last_event_id(&done.id).await;
        assert_eq!(again.status(), StatusCode::NO_CONTENT, "{sent}");
        // A client that sends its ID in the query parameter does not start a run either.
        let path = format!("/answers/1?lastEventId={last}");
        assert_eq!(
            client.get(&path).await.events().expect_event().await.event,
            "gap"
        );
    }
    assert_eq!(answers.started.load(Ordering::Relaxed), 1);
    assert_eq!(answers.hub.len(), 0, "no topic should be kept");
    // A client without an ID can start another run with the same name.
    let mut events = client.get("/answers/1").await.events();
    assert_eq!(words(&mut events).await, five());
    assert_eq!(answers.started.load(Ordering::Relaxed), 2);
}

/// A stored run cannot be restarted, so the hub's topics are in memory.
#[tokio::test]
async fn spawn_again_restarts_a_finished_run() {
    let hub = hub(&Store::Memory, 10).await;
    let say = |text: &'static str| {
        move |topic: Topic<String>| async move { topic.publish(&text.to_owned()).await.map(drop) }
    };
    let all = async |mut updates: Subscription<String>| {
        let mut all = Vec::new();
        while let Some(update) = within("an update", updates.next()).await {
            all.push((*update).clone());
        }
        all
    };
    let first = hub.spawn("a", Start::First, say("first")).await.unwrap();
    let position = first.position();
    assert_eq!(all(first).await, ["first"]);
    let replayed = hub.spawn("a", Start::First, say("second")).await.unwrap();
    assert_eq!(all(replayed).await, ["first"]);
    // A client with an ID from the finished run can still resume that run.
    let resumed = hub
        .spawn_again("a", position.clone(), say("never"))
        .await
        .unwrap();
    assert_eq!(all(resumed).await, ["first"]);

    let again = hub
        .spawn_again("a", Start::First, say("second"))
        .await
        .unwrap();
    assert_eq!(all(again).await, ["second"]);
    let mut old = hub.spawn_again("a", position, say("never")).await.unwrap();
    let gap = within("a gap", old.recv()).await.unwrap().unwrap_err();
    assert_eq!(gap.reason(), GapReason::OtherEpoch);

    // If a run is still active, `spawn_again` joins that run.
    let waits = hub
        .spawn_again("b", Start::First, |_| pending::<()>())
        .await
        .unwrap();
    let _joined = hub
        .spawn_again("b", Start::First, say("never"))
        .await
        .unwrap();
    assert_eq!(hub.get("b").unwrap().subscribers(), 2);
    drop(waits);
    assert!(hub.abort("b").await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn waiting_run_is_not_idle() {
    let answers = Answers::new(&Store::Memory).await;
    let events = answers.client().get("/answers/1").await.events();
    let mut events = events;
    has_subscribed(&mut events);
    events.disconnect().await;
    pass(IDLE * 5).await;
    assert_eq!(answers.hub.len(), 1);
    answers.words.add_permits(5);
    assert_eq!(
        words(&mut answers.client().get("/answers/1").await.events()).await,
        five()
    );
    assert_eq!(answers.started.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn run_without_readers_is_aborted() {
    let after = Duration::from_secs(600);
    let mut answers = Answers::new(&Store::Memory).await;
    answers.hub = hub_builder(100).idle(IDLE).abandon_after(after).build();
    let client = answers.client();
    let mut events = client.get("/answers/1").await.events();
    answers.words.add_permits(1);
    let first = events.expect_event().await;
    // The run continues as long as it has a reader.
    pass(after * 2).await;
    assert!(!answers.hub.get("1").unwrap().is_finished());
    events.disconnect().await;
    pass(after / 2).await;
    assert!(!answers.hub.get("1").unwrap().is_finished());
    let back = client.get("/answers/1").last_event_id(&first.id).await;
    back.events().disconnect().await;
    pass(after / 2 + Duration::from_secs(5)).await;
    assert!(
        !answers.hub.get("1").unwrap().is_finished(),
        "a reader should have reset the timeout"
    );
    pass(after / 2).await;
    // The hub has stopped the run, so no `done` event is sent.
    let mut back = client
        .get("/answers/1")
        .last_event_id(&first.id)
        .await
        .events();
    let (words, data, id) = words_and_error(&mut back).await;
    assert_eq!((words, data.as_str()), (vec![], WITHOUT_DETAILS));
    let stopped = client.get("/answers/1").last_event_id(&id).await;
    assert_eq!(stopped.status(), StatusCode::NO_CONTENT);
    pass(IDLE * 2).await;
    assert_eq!(answers.hub.len(), 0);
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn stopped_run_ends_its_readers(store: Store) {
    let answers = Answers::new(&store).await;
    let client = answers.client();
    assert!(
        !answers.hub.abort("1").await.unwrap(),
        "there should be no run"
    );
    let mut events = client.get("/answers/1").await.events();
    answers.words.add_permits(1);
    assert_eq!(events.expect_event().await.json::<String>(), "word 1");
    assert!(answers.hub.abort("1").await.unwrap());
    assert!(words(&mut events).await.is_empty());
    assert!(events.last_event_id().ends_with("~done"));
    assert!(
        !answers.hub.abort("1").await.unwrap(),
        "the run should have ended"
    );
    // While the hub keeps the stopped run, the run is not restarted.
    answers.words.add_permits(5);
    let mut again = client.get("/answers/1").await.events();
    assert_eq!(words(&mut again).await, ["word 1"]);
    assert_eq!(answers.started.load(Ordering::Relaxed), 1);
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn run_factory_can_use_the_hub_and_can_panic(store: Store) {
    let hub = hub(&store, 10).await;
    let asked = hub.clone();
    open_stored(&store, &hub, &["b"]).await;
    let mut updates = hub
        .spawn("a", Start::First, move |topic| {
            // The hub calls this closure before the run starts. The closure uses the hub, so the
            // hub must not be locked during the call.
            let other = ready(asked.topic("b")).unwrap();
            // This call does not start a second run, even though the first run has not started yet.
            let twice = |_| -> Pending<()> { panic!("started twice") };
            let again = ready(asked.spawn("a", Start::First, twice));
            assert!(again.is_ok());
            async move {
                other.publish(&"beside".to_owned()).await?;
                topic.publish(&"here".to_owned()).await.map(drop)
            }
        })
        .await
        .unwrap();
    let first = within("the first update", updates.next()).await;
    assert_eq!(*first.unwrap(), "here");
    assert!(within("the end of the run", updates.next()).await.is_none());
    let of_b = hub.get("b").unwrap();
    assert_eq!(values(&mut of_b.subscribe(Start::First)), ["beside"]);

    let panics = hub.clone();
    let panicked = tokio::spawn(async move {
        panics
            .spawn("c", Start::First, |_| {
                if true {
                    panic!("on purpose");
                }
                pending::<()>()
            })
            .await
    });
    assert!(panicked.await.unwrap_err().is_panic());
    // A reader does not wait for a run that never started.
    let mut updates = hub.topic("c").await.unwrap().subscribe(Start::First);
    assert!(within("the end of the run", updates.next()).await.is_none());
}

/// All tasks find the earlier run finished, and only one of them may start a new one. A stored run
/// cannot be restarted, so the hub's topics are in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn simultaneous_restarts_start_one_run() {
    const TASKS: usize = 8;
    let hub = hub(&Store::Memory, 4).await;
    for _ in 0..200 {
        hub.spawn_again("a", Start::First, async |_| ())
            .await
            .unwrap();
        while hub.get("a").is_some_and(|topic| !topic.is_finished()) {
            yield_now().await;
        }
        let started = Arc::new(AtomicUsize::new(0));
        let barrier = Arc::new(Barrier::new(TASKS));
        let mut tasks = JoinSet::new();
        for _ in 0..TASKS {
            let (hub, started, barrier) = (hub.clone(), Arc::clone(&started), Arc::clone(&barrier));
            tasks.spawn(async move {
                barrier.wait().await;
                let run = hub.spawn_again("a", Start::First, |_| {
                    started.fetch_add(1, Ordering::Relaxed);
                    pending::<()>()
                });
                drop(run.await.unwrap());
            });
        }
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
        assert_eq!(started.load(Ordering::Relaxed), 1);
        assert!(hub.abort("a").await.unwrap());
        while hub.get("a").is_some_and(|topic| !topic.is_finished()) {
            yield_now().await;
        }
    }
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn run_stopped_before_its_start_never_starts(store: Store) {
    let hub = hub(&store, 4).await;
    let (begun, mut has_begun) = mpsc::unbounded_channel();
    let mut updates = hub
        .spawn("a", Start::First, |_| {
            let aborted = hub.abort("a").now_or_never();
            assert!(aborted.unwrap().unwrap());
            async move { begun.send(()).unwrap() }
        })
        .await
        .unwrap();
    // The end of the subscription shows that the run was dropped.
    assert!(within("the end of the run", updates.next()).await.is_none());
    assert!(has_begun.try_recv().is_err());
}

/// Resumes a run, for example the latest answer in a conversation.
#[sse_endpoint("/resumed/{id}")]
async fn resumed(
    Path(id): Path<String>,
    State(hub): State<Hub<String>>,
    last: LastEventId,
) -> Result<impl Stream<Item = String>, HubError> {
    let run = hub
        .spawn(&id, last, |topic| async move {
            topic.publish(&"started".to_owned()).await.map(drop)
        })
        .await?;
    yield_all!(run);
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn resuming_a_name_without_a_run_sends_gap_and_done(store: Store) {
    let hub = hub(&store, 10).await;
    let client = testing::Client::new(Router::new().sse(resumed).with_state(hub.clone()));
    let _held = hub.topic("held").await.unwrap();
    let _read = hub.subscribe(["read", "held"], Start::Now).await.unwrap();
    for path in ["/resumed/held", "/resumed/read", "/resumed/gone"] {
        for sent in ["0123456789ab-7", "nonsense", "0123456789ab-7~done"] {
            let mut back = client.get(path).last_event_id(sent).await.events();
            let gap = within("a gap", back.expect_event()).await;
            assert_eq!(gap.event, "gap", "{path} {sent}");
            let done = within("the end of the run", back.expect_event()).await;
            assert_eq!(done.event, "done", "{path} {sent}");
            within("the end of the run", back.expect_end()).await;
            let again = client.get(path).last_event_id(&done.id).await;
            assert_eq!(again.status(), StatusCode::NO_CONTENT, "{path} {sent}");
        }
    }
    let request = client.get("/resumed/two").header("last-event-id", "");
    let mut back = request.header("last-event-id", "AAAA-3").await.events();
    assert_eq!(within("a gap", back.expect_event()).await.event, "gap");
    // A client without an ID starts a run even if the name has already been read.
    let mut first = client.get("/resumed/held").await.events();
    assert_eq!(first.expect_event().await.data, "\"started\"");
}
