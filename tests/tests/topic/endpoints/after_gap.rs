//! The position at which a reader continues after a gap.

use std::{future::pending, mem, task::Poll};

use axum::{Router, extract::State};
use proptest::prelude::*;
use sse_runtime::{
    EventId, Hub, LastEventId, Start, Stream, Topic, sse_endpoint,
    topic::{Cursor, GapReason, Subscription, TopicBuilder},
};
use support::{SseRouterExt as _, Store, publish_all, serve};
use test_case::test_case;
use tokio::{runtime::Builder, task::yield_now};

use crate::check;

use super::{epoch, four_of_ten, frames, gap, number_frame, numbers, poll_once, reconnect};

#[sse_endpoint("/newest")]
async fn newest(State(topic): State<Topic<u64>>, last: LastEventId) -> impl Stream<Item = u64> {
    let cursor = last.or(Start::Latest(1)).after_gap(Start::Latest(1));
    yield_all!(topic.subscribe(cursor));
}

#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn client_receives_only_the_newest_event_after_a_gap(store: Store) {
    let (topic, ids) = four_of_ten(&store).await;
    let addr = serve(Router::new().sse(newest).with_state(topic.clone())).await;
    let never_sent = format!("{}-99", epoch(&topic));
    for (sent, reason, missed) in [
        (ids[0].as_str(), "too_old", "9"),
        (&ids[5], "too_old", "4"),
        ("0123456789ab-7", "other_epoch", "null"),
        (&never_sent, "unknown", "null"),
        ("m1:a=0123456789ab-7", "unknown", "null"),
        ("7", "unknown", "null"),
        ("☃", "unknown", "null"),
        ("0123456789ab-7~done", "other_epoch", "null"),
    ] {
        let mut client = reconnect(addr, "/newest", sent.as_bytes(), false).await;
        let mut got = frames(&client.expect_chunk().await);
        if got.len() < 2 {
            got.extend(frames(&client.expect_chunk().await));
        }
        let expected = [gap(reason, missed, &ids[9]), number_frame(&ids[10], 10)];
        assert_eq!(got, expected, "{sent}");
    }
    // Without a gap, nothing is skipped, and the gap's ID does not cause another gap.
    for (sent, next) in [(6, 7), (8, 9), (9, 10)] {
        let mut client = reconnect(addr, "/newest", ids[sent].as_bytes(), false).await;
        let got = frames(&client.expect_chunk().await);
        assert_eq!(got[0], number_frame(&ids[next], next as u64));
    }
}

/// Reads the available numbers, or the reasons of gaps and the numbers of missed events.
fn read(updates: &mut Subscription<u64>) -> Vec<Result<u64, (GapReason, Option<u64>)>> {
    let mut read = Vec::new();
    while let Poll::Ready(Some(seen)) = poll_once(updates.recv()) {
        read.push(
            seen.map(|update| *update)
                .map_err(|gap| (gap.reason(), gap.missed())),
        );
    }
    read
}

type Policy = fn(TopicBuilder<u64>) -> TopicBuilder<u64>;

/// In the end, the topic holds the numbers 9 to 12. The readers have read the numbers 1 and 2.
#[test_case(|topic| topic; "oldest")]
#[test_case(TopicBuilder::latest; "newest")]
#[test_case(|topic| topic.latest_by(|number| number % 2); "newest per key")]
#[tokio::test]
async fn position_takes_precedence_over_the_topic(policy: Policy) {
    for (start, missed, rest) in [
        (Start::Now, 10, vec![]),
        (Start::Latest(3), 7, vec![10, 11, 12]),
        (Start::Latest(99), 6, vec![9, 10, 11, 12]),
        (Start::First, 6, vec![9, 10, 11, 12]),
    ] {
        let topic = policy(Topic::builder().keep(4)).build();
        let subscribe = |cursor: Cursor| topic.subscribe(cursor.after_gap(start));
        let mut open = subscribe(Start::Now.into());
        publish_all(&topic, 1..=2).await;
        assert_eq!(read(&mut open), [Ok(1), Ok(2)]);
        let mut away = subscribe(open.position().into());
        publish_all(&topic, 3..=12).await;
        for (updates, reason) in [
            (&mut open, GapReason::Overtaken),
            (&mut away, GapReason::TooOld),
        ] {
            let mut expected = vec![Err((reason, Some(missed)))];
            expected.extend(rest.iter().copied().map(Ok));
            assert_eq!(read(updates), expected, "{start:?}");
        }
        publish_all(&topic, [13]).await;
        assert_eq!(read(&mut open), [Ok(13)], "{start:?}");
    }
}

#[tokio::test]
async fn position_does_not_keep_a_lagging_reader_open() {
    let topic = Topic::builder().keep(4).disconnect().build();
    let cursor = |cursor: Cursor| cursor.after_gap(Start::Latest(1));
    let mut open = topic.subscribe(cursor(Start::Now.into()));
    publish_all(&topic, 1..=10).await;
    assert_eq!(read(&mut open), []);
    assert!(
        poll_once(open.next()).is_ready(),
        "the subscription has ended"
    );
    // The client reconnects.
    let mut back = topic.subscribe(cursor(open.position().into()));
    let expected = [Err((GapReason::TooOld, Some(9))), Ok(10)];
    assert_eq!(read(&mut back), expected);
}

#[tokio::test]
async fn position_applies_to_runs_and_several_topics() {
    let hub: Hub<u64> = Hub::new(|| Topic::builder().keep(4));
    let gap = |missed| Err((GapReason::TooOld, Some(missed)));
    let run = hub.spawn("run", Start::First, |topic| async move {
        publish_all(&topic, 1..=10).await;
    });
    let run = run.await.unwrap();
    let cursor = Cursor::from(run.position()).after_gap(Start::Latest(2));
    while !hub.get("run").unwrap().is_finished() {
        yield_now().await;
    }
    let mut spawned = hub.spawn("run", cursor.clone(), |_| pending::<()>());
    let spawned = poll_once(&mut spawned);
    let Poll::Ready(Ok(mut spawned)) = spawned else {
        panic!("{spawned:?}");
    };
    assert_eq!(read(&mut spawned), [gap(8), Ok(9), Ok(10)]);
    let mut resumed = hub.resume("run", cursor).await.unwrap().unwrap();
    assert_eq!(read(&mut resumed), [gap(8), Ok(9), Ok(10)]);

    let names = ["a", "b"];
    let updates = hub.subscribe(names, Start::Now).await.unwrap();
    for name in names {
        let topic = hub.topic(name).await.unwrap();
        let count = if name == "a" { 10 } else { 3 };
        publish_all(&topic, 1..=count).await;
    }
    let cursor = Cursor::from(updates.position()).after_gap(Start::Latest(1));
    let mut back = hub.subscribe(names, cursor).await.unwrap();
    // Only the first topic has lost events.
    let expected = [gap(9), Ok(10), Ok(1), Ok(2), Ok(3)];
    let mut seen = read(&mut back);
    seen.sort_by_key(|seen| matches!(seen, Ok(1..=3)));
    assert_eq!(seen, expected);
}

/// Every client that may subscribe to a topic can read everything that the topic holds.
#[test_case(Store::Memory; "memory")]
#[test_case(Store::log(); "log")]
#[tokio::test]
async fn made_up_id_reads_every_held_event(store: Store) {
    let (topic, ids) = four_of_ten(&store).await;
    let addr = serve(Router::new().sse(numbers).with_state(topic.clone())).await;
    let mut without = reconnect(addr, "/numbers", b"", false).await;
    // The stream starts with the position before the next event.
    assert_eq!(without.expect_chunk().await, format!("id: {}\n\n", ids[10]));
    let mut made_up = reconnect(addr, "/numbers", b"x", false).await;
    let mut got = frames(&made_up.expect_chunk().await);
    while got.len() < 5 {
        got.extend(frames(&made_up.expect_chunk().await));
    }
    let held = (7..=10).map(|number| number_frame(&ids[usize::try_from(number).unwrap()], number));
    assert!(got[1..].iter().cloned().eq(held), "{got:?}");
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Publish {
        topic: usize,
        count: u64,
    },
    Read {
        times: usize,
    },
    Reconnect,
    /// The client sends an ID of which only the position in one topic is valid.
    Forge {
        topic: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..2_usize, 1..12_u64).prop_map(|(topic, count)| Op::Publish { topic, count }),
        4 => (1..12_usize).prop_map(|times| Op::Read { times }),
        2 => Just(Op::Reconnect),
        1 => (0..2_usize).prop_map(|topic| Op::Forge { topic }),
    ]
}

/// A client of two topics. Each event contains the topic's index and the event's number.
struct Reader {
    updates: Subscription<(usize, u64)>,
    seen: [u64; 2],
    /// For each topic, the numbers after which the reader may continue because of gaps.
    may_continue_after: [Vec<u64>; 2],
}

impl Reader {
    /// Reads one update. Returns whether there was one.
    fn read(&mut self, published: [u64; 2], kept: u64, count: u64) -> bool {
        let Poll::Ready(Some(seen)) = poll_once(self.updates.recv()) else {
            return false;
        };
        match seen {
            Ok(update) => {
                let (topic, number) = *update;
                let is_next = number == self.seen[topic] + 1;
                let after_gap = mem::take(&mut self.may_continue_after[topic]);
                assert!(
                    is_next || after_gap.contains(&(number - 1)),
                    "{number} of topic {topic} after {:?}, or after one of {after_gap:?}",
                    self.seen
                );
                self.seen[topic] = number;
            }
            // The gap does not name its topic, so it may concern either of them.
            Err(_) => {
                for (last, after_gap) in published.iter().zip(&mut self.may_continue_after) {
                    let newest = last.saturating_sub(count).max(last.saturating_sub(kept));
                    after_gap.push(newest);
                }
            }
        }
        true
    }
}

/// No event is lost without a gap, and the first event after a gap is not older than the position
/// that the reader has set.
#[test]
fn no_event_after_a_gap_is_too_old() {
    const KEPT: usize = 5;
    let runtime = Builder::new_current_thread().build().unwrap();
    let inputs = (0..8_u64, prop::collection::vec(op(), 1..60));
    check(&runtime, 500, &inputs, async |(count, ops)| {
        let hub: Hub<(usize, u64)> = Hub::new(|| Topic::builder().keep(KEPT));
        let start = Start::Latest(usize::try_from(count).unwrap());
        let subscribe = async |cursor: Cursor| {
            let updates = hub.subscribe(["0", "1"], cursor.after_gap(start)).await;
            updates.unwrap()
        };
        let mut published = [0; 2];
        let mut reader = Reader {
            updates: subscribe(Start::First.into()).await,
            seen: [0; 2],
            may_continue_after: Default::default(),
        };
        for op in ops {
            match op {
                Op::Publish { topic, count } => {
                    let events = published[topic] + 1..=published[topic] + count;
                    published[topic] += count;
                    let name = hub.topic(&topic.to_string()).await.unwrap();
                    publish_all(&name, events.map(|number| (topic, number))).await;
                }
                Op::Read { times } => {
                    for _ in 0..times {
                        reader.read(published, KEPT as u64, count);
                    }
                }
                Op::Reconnect => {
                    reader.updates = subscribe(reader.updates.position().into()).await;
                }
                Op::Forge { topic } => {
                    let id = reader.updates.position().to_string();
                    let forged = id.replace(&format!("{topic}="), &format!("{topic}=x"));
                    let forged = EventId::new(forged).unwrap();
                    reader.updates = subscribe(forged.into()).await;
                    // This gap's position does not change after the client has subscribed.
                    reader.read(published, KEPT as u64, count);
                }
            }
        }
        while reader.read(published, KEPT as u64, count) {}
        // Every event has been read, or may have been skipped because of a gap.
        for (topic, last) in published.into_iter().enumerate() {
            let skipped = reader.may_continue_after[topic].contains(&last);
            assert!(reader.seen[topic] == last || skipped, "{last} of {topic}");
        }
    });
}
