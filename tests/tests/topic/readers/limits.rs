//! Tests which events a topic keeps, and when a limit causes the topic to drop events.

use std::{
    task::{Poll, Waker},
    time::Duration,
};

use proptest::prelude::*;
use sse_runtime::{
    EventId, Start, Topic,
    topic::{GapReason, Subscription},
};
use support::{Store, publish_all};
use test_case::test_case;
use tokio::{runtime::Builder, time::advance};

use crate::check;

use super::{Item, poll_once};

/// A client reconnects any number of times, even while the client is reading the newest event for
/// each key. Each event is either received exactly once or counted in a gap.
#[test_case(Store::Memory, 300; "memory")]
#[test_case(Store::log(), 30; "log")]
fn latest_by_accounts_for_each_event_once(store: Store, cases: u32) {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let steps = prop::collection::vec((0..12_usize, 0..6_usize, any::<bool>()), 1..60);
    check(&runtime, cases, &(1..6_usize, steps), async move |input| {
        account_for_each_event(&store, input.0, input.1).await;
    });
}

/// Applies steps, each of which publishes some events, reads some events, and may reconnect.
async fn account_for_each_event(store: &Store, events: usize, steps: Vec<(usize, usize, bool)>) {
    let topic = Topic::builder().keep(events);
    let topic = topic.latest_by(|item: &Item| item.key);
    let topic = store.topic(topic).await;
    let mut updates = topic.subscribe(Start::Now);
    let (mut published, mut accounted, mut seen) = (0, 0, 0);
    let mut read = |updates: &mut Subscription<Item>, times: usize| {
        for _ in 0..times {
            match poll_once(updates.recv(), Waker::noop()) {
                Poll::Ready(Some(Ok(update))) => {
                    assert!(update.number > seen, "{} after {seen}", update.number);
                    seen = update.number;
                    accounted += 1;
                }
                Poll::Ready(Some(Err(gap))) => accounted += gap.missed().unwrap(),
                Poll::Ready(None) => panic!("the topic has not ended"),
                Poll::Pending => break,
            }
        }
        accounted
    };
    for (publishes, reads, leaves) in steps {
        let items = (0..publishes).map(|_| {
            published += 1;
            Item {
                number: published,
                key: u8::try_from(published * 7 % 5).unwrap(),
                fill: String::new(),
            }
        });
        publish_all(&topic, items).await;
        read(&mut updates, reads);
        if leaves {
            let id = updates.position().to_string();
            updates = topic.subscribe(EventId::new(id).unwrap());
        }
    }
    assert_eq!(read(&mut updates, usize::MAX), published);
}

/// The held bytes include the value, the frame and their overhead, regardless of the frame's
/// length. This does not depend on the engine, so the topics are in memory.
#[test]
fn held_bytes_stay_within_the_limit() {
    const LIMIT: usize = 1024 * 1024;
    let numbers: Topic<u32> = Topic::builder().keep(usize::MAX).keep_bytes(LIMIT).build();
    for number in 0..100_000 {
        numbers.try_publish(&number).unwrap();
    }
    let mut held = 0;
    let mut updates = numbers.subscribe(Start::First);
    while let Poll::Ready(Some(Ok(_))) = poll_once(updates.recv(), Waker::noop()) {
        held += 1;
    }
    // A frame needs 35 bytes. An entry and its allocations need at least 100 more bytes.
    assert!((1..LIMIT / 135).contains(&held), "{held} events");

    let texts: Topic<String> = Topic::builder().keep(usize::MAX).keep_bytes(LIMIT).build();
    for _ in 0..100 {
        texts.try_publish(&"x".repeat(LIMIT / 16)).unwrap();
    }
    let mut held = 0;
    let mut updates = texts.subscribe(Start::First);
    while let Poll::Ready(Some(Ok(_))) = poll_once(updates.recv(), Waker::noop()) {
        held += 1;
    }
    // The text is held twice, once in the value and once in the frame.
    assert!((1..=8).contains(&held), "{held} texts");
    assert!(texts.held_bytes() <= LIMIT);

    // The newest event for each key is kept and counts towards the limit.
    let by_key: Topic<u32> = Topic::builder().keep(1).latest_by(|key: &u32| *key).build();
    by_key.try_publish(&0).unwrap();
    let one = by_key.held_bytes();
    for number in 0..1_000 {
        by_key.try_publish(&(number % 10)).unwrap();
    }
    assert!((10 * one..11 * one).contains(&by_key.held_bytes()));
}

#[tokio::test(start_paused = true)]
async fn expired_event_is_not_read() {
    let topic: Topic<u64> = Topic::builder().keep_for(Duration::from_secs(1)).build();
    let mut updates = topic.subscribe(Start::First);
    topic.publish(&1).await.unwrap();
    advance(Duration::from_secs(3600)).await;
    let gap = updates.recv().await.unwrap().unwrap_err();
    assert_eq!(
        (gap.reason(), gap.missed()),
        (GapReason::Overtaken, Some(1))
    );
}
