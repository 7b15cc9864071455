//! Events that are published while clients connect, publishers compete, or the log is read.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sse_runtime::{
    EventId, Start, Topic,
    topic::{
        GapReason,
        engine::{Body, Node},
    },
};
use tokio::time::{Instant, sleep, timeout};

use super::fake::Fake;

/// Opens a topic with one event. Also returns an id that is ahead of the topic.
async fn open(node: &Node) -> (Topic<u64>, EventId) {
    let topic = Topic::<u64>::open(node, "x").await.unwrap();
    let id = topic.publish(&0).await.unwrap().to_string();
    let (place, mark) = id.split_once('.').unwrap();
    let (epoch, _) = place.split_once('-').unwrap();
    let ahead = EventId::new(format!("{epoch}-999999.{mark}")).unwrap();
    (topic, ahead)
}

/// A client that sends made-up ids does not delay the events of other clients.
#[tokio::test(start_paused = true)]
async fn made_up_ids_do_not_delay_events() {
    let fake = Fake::new();
    let node = Node::new(fake.engine());
    let (topic, ahead) = open(&node).await;
    let attacked = topic.clone();
    let attack = tokio::spawn(async move {
        loop {
            drop(attacked.subscribe(ahead.clone()));
            sleep(Duration::from_millis(5)).await;
        }
    });
    let mut reader = topic.subscribe(Start::Now);
    for value in 1..100 {
        sleep(Duration::from_millis(7)).await;
        let start = Instant::now();
        topic.publish(&value).await.unwrap();
        assert_eq!(*reader.recv().await.unwrap().unwrap(), value);
        // The clock is paused, so the delay is exact.
        assert!(start.elapsed() < Duration::from_millis(10));
    }
    attack.abort();
}

/// A publisher that has received the id of its event can read the event.
#[tokio::test(start_paused = true)]
async fn made_up_ids_do_not_hide_a_confirmed_event() {
    let fake = Fake::new();
    let node = Node::new(fake.engine());
    let (topic, ahead) = open(&node).await;
    for _ in 0..2 {
        drop(topic.subscribe(ahead.clone()));
        sleep(Duration::from_millis(1)).await;
    }
    let id = topic.publish(&1).await.unwrap();
    assert_eq!(topic.subscribe(Start::Now).position(), id);
}

/// Returns the frame of the second event in the log.
fn second_frame(fake: &Fake) -> String {
    let body = fake.records("x")[1].record.body.clone();
    let frame = Body::decode(body).unwrap().frame;
    String::from_utf8(frame.to_vec()).unwrap()
}

/// Two values are published with the same key. The first call may be cancelled. Readers receive the
/// value that is stored.
#[tokio::test(start_paused = true)]
async fn value_with_a_repeated_key_is_the_stored_one() {
    for is_cancelled in [false, true] {
        let fake = Fake::new();
        let node = Node::new(fake.engine());
        let (topic, _) = open(&node).await;
        let mut reader = topic.subscribe(Start::Now);
        fake.set_stores(false);
        let first = topic.clone();
        let first = tokio::spawn(async move {
            let publishing = first.publish_with_key(7_u128, &1);
            match is_cancelled {
                true => timeout(Duration::from_millis(5), publishing).await.ok(),
                false => Some(publishing.await),
            }
        });
        sleep(Duration::from_millis(10)).await;
        let second = topic.clone();
        let second = tokio::spawn(async move { second.publish_with_key(7_u128, &2).await });
        sleep(Duration::from_millis(1)).await;
        fake.set_stores(true);
        let id = second.await.unwrap().unwrap();
        if let Some(first) = first.await.unwrap() {
            assert_eq!(first.unwrap(), id);
        }
        let received = *reader.recv().await.unwrap().unwrap();
        assert_eq!(format!("data: {received}\n\n"), second_frame(&fake));
    }
}

/// The engine has lost all events that the node holds. Until the node has read the log again, a
/// reader that starts at [`Start::Now`] receives a gap before it receives older events.
#[tokio::test(start_paused = true)]
async fn reader_receives_a_gap_while_a_log_is_read_again() {
    let fake = Fake::new();
    let node = Node::new(fake.engine());
    let builder = Topic::<u64>::builder().keep(3);
    let topic = builder.open(&node, "x").await.unwrap();
    for value in 1..=6 {
        topic.publish(&value).await.unwrap();
    }
    let readers = Arc::new(Mutex::new(Vec::new()));
    let lock = |readers: &Mutex<Vec<_>>| {
        let mut readers = readers.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *readers)
    };
    let (subscribed, subscribing) = (Arc::clone(&readers), topic.clone());
    fake.after_read(move || {
        let reader = subscribing.subscribe(Start::Now);
        subscribed.lock().unwrap().push(reader);
        Box::pin(async {})
    });
    fake.lose("x", 3);
    sleep(Duration::from_secs(5)).await;
    fake.after_read(|| Box::pin(async {}));
    let mut seen = Vec::new();
    for mut reader in lock(&readers) {
        let first = timeout(Duration::from_millis(100), reader.recv()).await;
        let first = first.ok().flatten();
        seen.push(first.map(|first| first.map(|update| *update).map_err(|gap| gap.reason())));
    }
    let gap = Some(Err(GapReason::RolledBack));
    assert!(seen.contains(&gap), "{seen:?}");
    assert!(
        seen.iter().all(|first| first.is_none() || *first == gap),
        "{seen:?}"
    );
}
