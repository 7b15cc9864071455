//! Single faults, each with the sequence of events that it takes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sse_runtime::{
    Hub, Start, Topic,
    topic::{
        GapReason, HubError, PublishError, Subscription,
        engine::{Body, Key, Kind, Node, Record},
    },
};
use tokio::time::{sleep, timeout};

use super::fake::Fake;

const PATIENCE: Duration = Duration::from_secs(30);

fn number(value: u64) -> Record {
    let mut body = vec![1_u8];
    let frame = format!("data: {value}\n\n");
    body.extend(u32::try_from(frame.len()).unwrap().to_be_bytes());
    body.extend(frame.as_bytes());
    let record = Record {
        key: Key::random(),
        kind: Kind::Event,
        body: body.into(),
    };
    assert!(Body::decode(record.body.clone()).is_some());
    record
}

async fn values(reader: &mut Subscription<u64>) -> Vec<Result<u64, GapReason>> {
    let mut seen = Vec::new();
    while let Ok(Some(next)) = timeout(Duration::from_secs(1), reader.recv()).await {
        seen.push(next.map(|update| *update).map_err(|gap| gap.reason()));
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn subscription_outlives_the_topic_handle() {
    let fake = Fake::new();
    let node = Node::new(fake.engine());
    let mut reader = Topic::<u64>::open(&node, "x")
        .await
        .unwrap()
        .subscribe(Start::Now);
    let topic = Topic::<u64>::open(&node, "x").await.unwrap();
    topic.publish(&7).await.unwrap();
    assert_eq!(values(&mut reader).await, [Ok(7)]);
    drop((reader, topic));
    // The topic is closed.
    let reads = fake.reads();
    let _topic = Topic::<u64>::open(&node, "x").await.unwrap();
    assert_eq!(fake.reads(), reads + 1);
}

#[derive(Clone, Debug, Serialize)]
struct Fragile(u64);

impl<'de> Deserialize<'de> for Fragile {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = u64::deserialize(deserializer)?;
        assert!(value != 13, "unlucky");
        Ok(Self(value))
    }
}

async fn fragile(reader: &mut Subscription<Fragile>) -> Vec<Result<u64, GapReason>> {
    let mut seen = Vec::new();
    while let Ok(Some(next)) = timeout(Duration::from_secs(1), reader.recv()).await {
        seen.push(next.map(|update| update.0).map_err(|gap| gap.reason()));
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn topic_opens_although_decoding_an_event_panics() {
    let fake = Fake::new();
    let node = Node::new(fake.engine());
    for value in [1, 13, 2] {
        fake.store("x", number(value)).unwrap();
    }
    let topic = Topic::<Fragile>::open(&node, "x").await.unwrap();
    let mut reader = topic.subscribe(Start::First);
    let expected = [Ok(1), Err(GapReason::Unreadable), Ok(2)];
    assert_eq!(fragile(&mut reader).await, expected);
}

#[tokio::test(start_paused = true)]
async fn event_whose_decoding_panics_is_a_gap() {
    let fake = Fake::new();
    let node = Node::new(fake.engine());
    let topic = Topic::<Fragile>::open(&node, "x").await.unwrap();
    let mut reader = topic.subscribe(Start::First);
    for value in [1, 13, 2] {
        let store = std::panic::AssertUnwindSafe(|| fake.store("x", number(value)));
        let _ = std::panic::catch_unwind(store);
    }
    let expected = [Ok(1), Err(GapReason::Unreadable), Ok(2)];
    assert_eq!(fragile(&mut reader).await, expected);
}

#[tokio::test(start_paused = true)]
async fn event_whose_key_panics_is_a_gap() {
    let fake = Fake::new();
    let node = Node::new(fake.engine());
    let builder = Topic::<u64>::builder().latest_by(|value: &u64| {
        assert!(*value != 13, "unlucky");
        *value
    });
    let topic = builder.open(&node, "x").await.unwrap();
    let mut reader = topic.subscribe(Start::First);
    for value in [1, 13, 2] {
        let store = std::panic::AssertUnwindSafe(|| fake.store("x", number(value)));
        let _ = std::panic::catch_unwind(store);
    }
    assert_eq!(
        values(&mut reader).await,
        [Ok(1), Err(GapReason::Unreadable), Ok(2)]
    );
}

#[tokio::test(start_paused = true)]
async fn run_that_ends_while_the_engine_is_down_ends() {
    let fake = Arc::new(Fake::new());
    let node = Node::new(fake.engine());
    let hub = Hub::builder(Topic::<u64>::builder)
        .engine(&node, "runs")
        .build();
    let engine = Arc::clone(&fake);
    let run = hub.spawn("a", Start::First, move |topic| async move {
        topic.publish(&1).await.unwrap();
        engine.set_down(true);
    });
    let mut reader = run.await.unwrap();
    assert_eq!(values(&mut reader).await, [Ok(1)]);
    fake.set_down(false);
    let ended = timeout(PATIENCE, reader.recv()).await;
    assert!(matches!(ended, Ok(None)), "{ended:?}");
    assert_eq!(fake.records("runs/a").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn last_event_of_an_aborted_run_is_delivered() {
    let fake = Arc::new(Fake::new());
    let node = Node::new(fake.engine());
    let hub = Hub::builder(Topic::<u64>::builder)
        .engine(&node, "runs")
        .build();
    let engine = Arc::clone(&fake);
    let run = hub.spawn("a", Start::First, move |topic| async move {
        topic.publish(&1).await.unwrap();
        // The second event is on its way to the engine when the run is stopped.
        engine.set_stores(false);
        topic.publish(&2).await.unwrap();
    });
    let mut reader = run.await.unwrap();
    assert_eq!(values(&mut reader).await, [Ok(1)]);
    assert!(hub.abort("a").await.unwrap());
    let early = timeout(Duration::from_secs(1), reader.recv()).await;
    fake.set_stores(true);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(fake.records("runs/a").len(), 3);
    assert!(
        early.is_err(),
        "ended before the engine has stored the end: {early:?}"
    );
    assert_eq!(values(&mut reader).await, [Ok(2)]);
    assert_eq!(fake.records("runs/a").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn event_published_again_after_the_end_is_confirmed() {
    let fake = Fake::new();
    let node = Node::new(fake.engine());
    let topic = Topic::<u64>::open(&node, "x").await.unwrap();
    let id = topic.publish_with_key(7, &1).await.unwrap();
    topic.finish().await.unwrap();
    assert_eq!(topic.publish_with_key(7, &1).await.unwrap(), id);
    assert!(matches!(
        topic.publish_with_key(8, &1).await,
        Err(PublishError::Finished)
    ));
    let topic = Topic::<u64>::in_memory(10);
    let id = topic.publish_with_key(7, &1).await.unwrap();
    topic.finish().await.unwrap();
    assert_eq!(topic.publish_with_key(7, &1).await.unwrap(), id);
}

#[tokio::test(start_paused = true)]
async fn clients_that_resume_a_run_do_not_load_the_engine() {
    let fake = Fake::new();
    let node = Node::new(fake.engine());
    let hub = Hub::builder(Topic::<u64>::builder)
        .engine(&node, "runs")
        .build();
    let run = hub.spawn("a", Start::First, |topic| async move {
        topic.publish(&1).await.unwrap();
        std::future::pending::<()>().await;
    });
    let mut reader = run.await.unwrap();
    let id = reader.recv().await.unwrap().unwrap().id().clone();
    let before = (fake.reads(), fake.tails());
    for _ in 0..100 {
        hub.resume("a", id.clone()).await.unwrap().unwrap();
    }
    assert_eq!((fake.reads(), fake.tails()), before);
}

#[tokio::test(start_paused = true)]
async fn busy_topic_is_opened() {
    let fake = Arc::new(Fake::new());
    let node = Node::new(fake.engine());
    fake.store("x", number(0)).unwrap();
    let engine = Arc::downgrade(&fake);
    let left = Arc::new(AtomicUsize::new(20));
    fake.after_read(move || {
        let (engine, left) = (engine.clone(), Arc::clone(&left));
        Box::pin(async move {
            let engine = engine.upgrade().unwrap();
            sleep(Duration::from_secs(1)).await;
            if left.fetch_sub(1, Ordering::SeqCst) > 1 {
                for value in 0..1_100 {
                    engine.store("x", number(value)).unwrap();
                }
            }
        })
    });
    let topic = Topic::<u64>::open(&node, "x").await.unwrap();
    assert!(fake.reads() < 10, "{}", fake.reads());
    // An id that no record can have.
    let id = topic.subscribe(Start::Now).position().to_string();
    let (epoch, _) = id.split_once('-').unwrap();
    let ahead: sse_runtime::EventId = format!("{epoch}-99999999999.000000").parse().unwrap();
    let mut reader = topic.subscribe(ahead);
    let next = timeout(Duration::from_secs(3), reader.recv()).await;
    assert_eq!(
        next.unwrap().unwrap().unwrap_err().reason(),
        GapReason::RolledBack
    );
}

#[tokio::test(start_paused = true)]
async fn topic_that_is_being_opened_is_not_given_out() {
    let fake = Fake::new();
    let node = Node::new(fake.engine());
    let record = number(1);
    fake.store("rooms/a", record).unwrap();
    let hub = Hub::builder(Topic::<u64>::builder)
        .engine(&node, "rooms")
        .build();
    let id = hub.topic("a").await.unwrap().publish(&2).await.unwrap();
    drop(hub);
    sleep(Duration::from_millis(1)).await;
    let hub = Hub::builder(Topic::<u64>::builder)
        .engine(&node, "rooms")
        .build();
    fake.after_read(|| Box::pin(sleep(Duration::from_millis(10))));
    let opening = {
        let hub = hub.clone();
        tokio::spawn(async move { hub.topic("a").await.unwrap() })
    };
    sleep(Duration::from_millis(1)).await;
    if let Some(topic) = hub.get("a") {
        let mut reader = topic.subscribe(id.clone());
        topic.publish(&3).await.unwrap();
        opening.await.unwrap();
        assert_eq!(values(&mut reader).await, [Ok(3)]);
    } else {
        opening.await.unwrap();
        assert!(hub.get("a").is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn event_may_become_too_old_during_a_rollback() {
    let fake = Fake::new();
    let node = Node::new(fake.engine());
    let builder = Topic::<u64>::builder().keep_for(Duration::from_secs(10));
    let topic = builder.open(&node, "x").await.unwrap();
    for value in 1..=5 {
        topic.publish(&value).await.unwrap();
    }
    sleep(Duration::from_secs(7)).await;
    for value in 6..=7 {
        topic.publish(&value).await.unwrap();
    }
    let mut reader = topic.subscribe(Start::First);
    assert_eq!(values(&mut reader).await.len(), 7);
    topic.publish(&8).await.unwrap();
    fake.lose("x", 1);
    let reading = topic.clone();
    fake.after_read(move || {
        let reading = reading.clone();
        Box::pin(async move {
            sleep(Duration::from_millis(1_500)).await;
            // Evicts the events that are too old.
            drop(reading.subscribe(Start::Now));
        })
    });
    fake.feed().skipped("x");
    sleep(Duration::from_secs(8)).await;
    fake.store("x", number(9)).unwrap();
    assert_eq!(values(&mut reader).await, [Ok(9)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn topic_is_dropped_during_a_check() {
    let fake = Arc::new(Fake::new());
    let node = Node::new(fake.engine());
    fake.set_down(true);
    let stop = Arc::new(AtomicBool::new(false));
    let checking = {
        let (fake, stop) = (Arc::clone(&fake), Arc::clone(&stop));
        std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                fake.feed().reconnected();
                std::thread::yield_now();
            }
        })
    };
    let mut openers = Vec::new();
    for opener in 0..4 {
        let (node, stop) = (node.clone(), Arc::clone(&stop));
        openers.push(tokio::spawn(async move {
            let mut count = 0_u64;
            while !stop.load(Ordering::SeqCst) {
                let name = format!("{opener}");
                let opening = Topic::<u64>::open(&node, &name);
                let _ = timeout(Duration::from_micros(count % 300), opening).await;
                count += 1;
            }
            count
        }));
    }
    // A thread of its own, because the deadlock blocks the runtime.
    let (done, waited) = std::sync::mpsc::channel();
    let watchdog = std::thread::spawn(move || {
        if waited.recv_timeout(Duration::from_secs(30)).is_err() {
            std::process::abort();
        }
    });
    sleep(Duration::from_secs(4)).await;
    stop.store(true, Ordering::SeqCst);
    for opener in openers {
        assert!(opener.await.unwrap() > 0);
    }
    done.send(()).unwrap();
    watchdog.join().unwrap();
    checking.join().unwrap();
}

#[tokio::test(start_paused = true)]
async fn topic_dropped_during_a_check_frees_its_events() {
    let fake = Fake::new();
    let hub = Hub::builder(Topic::<u64>::builder).max_topics(1);
    let hub = hub.engine(&Node::new(fake.engine()), "rooms").build();
    hub.topic("a").await.unwrap().publish(&1).await.unwrap();
    fake.set_answers(false);
    // A check begins every two seconds.
    sleep(Duration::from_secs(3)).await;
    hub.topic("b").await.unwrap();
    assert_eq!(hub.held_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn topic_that_is_being_opened_notices_a_reconnect() {
    let fake = Arc::new(Fake::new());
    let node = Node::new(fake.engine());
    fake.store("x", number(1)).unwrap();
    let engine = Arc::downgrade(&fake);
    let is_first = Arc::new(AtomicBool::new(true));
    fake.after_read(move || {
        let engine = engine.upgrade().unwrap();
        let is_first = is_first.swap(false, Ordering::SeqCst);
        Box::pin(async move {
            if is_first {
                // The feed loses this record along with its connection.
                engine.store_silently("x", number(2));
                engine.feed().reconnected();
                sleep(Duration::from_millis(1)).await;
            }
        })
    });
    let topic = Topic::<u64>::open(&node, "x").await.unwrap();
    let mut reader = topic.subscribe(Start::First);
    assert_eq!(values(&mut reader).await, [Ok(1), Ok(2)]);
}

#[tokio::test(start_paused = true)]
async fn end_that_reappears_during_a_repair_is_kept() {
    let fake = Arc::new(Fake::new());
    let node = Node::new(fake.engine());
    let topic = Topic::<u64>::open(&node, "x").await.unwrap();
    topic.publish(&1).await.unwrap();
    topic.finish().await.unwrap();
    let end = fake.records("x").pop().unwrap().record;
    // The engine switches to a copy that lacks the end, and back.
    fake.lose("x", 1);
    let engine = Arc::downgrade(&fake);
    let is_first = Arc::new(AtomicBool::new(true));
    fake.after_read(move || {
        if is_first.swap(false, Ordering::SeqCst) {
            engine.upgrade().unwrap().store_silently("x", end.clone());
        }
        Box::pin(async {})
    });
    fake.feed().skipped("x");
    sleep(Duration::from_secs(10)).await;
    assert!(topic.is_finished());
    let mut reader = topic.subscribe(Start::First);
    assert_eq!(values(&mut reader).await, [Ok(1)]);
    assert!(timeout(PATIENCE, reader.recv()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn name_that_is_too_long_with_its_prefix_is_rejected() {
    let fake = Fake::new();
    let node = Node::new(fake.engine());
    let hub = Hub::builder(Topic::<u64>::builder)
        .engine(&node, "rooms")
        .build();
    let name = "x".repeat(1_020);
    assert_eq!(hub.topic(&name).await.unwrap_err(), HubError::NameTooLong);
    assert!(hub.is_empty());
    assert!(hub.topic(&name[..1_018]).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn lost_run_is_not_started_again() {
    let fake = Fake::new();
    let node = Node::new(fake.engine());
    fake.store("runs/a", number(1)).unwrap();
    let hub = Hub::builder(Topic::<u64>::builder)
        .engine(&node, "runs")
        .build();
    let run = hub.spawn_again("a", Start::First, |_| std::future::pending::<()>());
    assert_eq!(run.await.unwrap_err(), HubError::StoredRun);
    let mut run = hub.resume("a", Start::First).await.unwrap().unwrap();
    assert_eq!(values(&mut run).await, [Ok(1)]);
}

#[tokio::test(start_paused = true)]
async fn lost_run_is_continued() {
    let fake = Fake::new();
    let node = Node::new(fake.engine());
    fake.store("runs/a", number(1)).unwrap();
    fake.store("runs/a", number(2)).unwrap();
    let hub = Hub::builder(|| Topic::<u64>::builder().keep(2))
        .engine(&node, "runs")
        .build();
    let run = hub.spawn_or_resume("a", Start::First, |topic, so_far| async move {
        assert!(so_far.iter().map(|update| **update).eq([1, 2]));
        topic.publish(&3).await.map(drop)
    });
    let mut run = run.await.unwrap();
    assert_eq!(values(&mut run).await, [Ok(1), Ok(2), Ok(3)]);
    assert!(run.recv().await.is_none() && !run.has_failed());
}

#[tokio::test(start_paused = true)]
async fn run_with_evicted_events_is_not_continued() {
    let fake = Fake::new();
    let node = Node::new(fake.engine());
    for value in 1..=3 {
        fake.store("runs/a", number(value)).unwrap();
    }
    let hub = Hub::builder(|| Topic::<u64>::builder().keep(2))
        .engine(&node, "runs")
        .build();
    let run = hub.spawn_or_resume("a", Start::First, async |_, _| unreachable!());
    let mut run = run.await.unwrap();
    assert_eq!(values(&mut run).await, [Ok(2), Ok(3)]);
    assert!(run.recv().await.is_none() && run.has_failed());
}
