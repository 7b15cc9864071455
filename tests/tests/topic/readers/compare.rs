//! Compares topics with the model. Every read must return the result that the model predicts, and
//! every waiting reader must be woken.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use proptest::prelude::*;
use sse_runtime::{Start, Topic};
use support::Store;
use test_case::test_case;
use tokio::time::advance;

use crate::check;

use super::Item;
use super::model::{From, Model, Op, Overflow, Reader, Seen, Subscriber};

/// A topic's limits on events, bytes and age (in milliseconds), and its overflow policy.
type Shape = (usize, usize, Option<u64>, Overflow);

/// A topic and the model to compare it with.
struct Comparison {
    store: Store,
    topic: Topic<Item>,
    /// An unlimited topic that the test uses to determine the cost of each event.
    unlimited: Topic<Item>,
    model: Model,
    readers: Vec<Reader>,
}

impl Comparison {
    async fn new(store: &Store, shape: Shape) -> Self {
        let (events, bytes, age, overflow) = shape;
        let age = age.map(Duration::from_millis);
        let mut builder = Topic::<Item>::builder().keep(events).keep_bytes(bytes);
        if let Some(age) = age {
            builder = builder.keep_for(age);
        }
        let builder = match overflow {
            Overflow::Skip => builder,
            Overflow::Latest => builder.latest(),
            Overflow::LatestBy => builder.latest_by(|item| item.key),
            Overflow::Disconnect => builder.disconnect(),
        };
        let topic = store.topic(builder).await;
        let unlimited = Topic::builder().keep(usize::MAX).keep_bytes(usize::MAX);
        let unlimited = store.topic(unlimited).await;
        let first = topic.subscribe(Start::Now).position().to_string();
        let epoch = first.strip_suffix("-0").unwrap().to_owned();
        let model = Model {
            events,
            bytes,
            age,
            overflow,
            epoch,
            published: Vec::new(),
            behind_oldest: 0,
            finished: false,
        };
        Self {
            store: store.clone(),
            topic,
            unlimited,
            model,
            readers: Vec::new(),
        }
    }

    async fn apply(&mut self, op: Op) {
        match op {
            Op::Publish { size, key } => self.publish(size, key).await,
            Op::Subscribe { from, after_gap } => {
                let reader = self.model.subscribe(&self.topic, from, after_gap);
                self.readers.push(reader);
            }
            Op::Read { reader, times } => {
                if let Some(reader) = self.chosen(reader) {
                    self.read(reader, times);
                }
            }
            Op::Reconnect { reader } => {
                if let Some(reader) = self.chosen(reader) {
                    self.reconnect(reader);
                }
            }
            Op::Leave { reader } => {
                if let Some(reader) = self.chosen(reader) {
                    self.readers.swap_remove(reader);
                }
            }
            Op::Wait { millis } => advance(Duration::from_millis(millis)).await,
            Op::Finish => {
                self.topic.finish().await.unwrap();
                self.model.finished = true;
                self.readers.iter_mut().for_each(Reader::assert_woken);
            }
        }
    }

    fn chosen(&self, reader: usize) -> Option<usize> {
        reader.checked_rem(self.readers.len())
    }

    async fn publish(&mut self, size: usize, key: u8) {
        let item = Item {
            number: self.model.last() + 1,
            key,
            fill: "x".repeat(size),
        };
        let published = self.topic.publish(&item).await;
        assert_eq!(published.is_ok(), !self.model.finished);
        if let Ok(id) = published {
            assert_eq!(self.store.number(&id.to_string()), item.number);
            let before = self.unlimited.held_bytes();
            self.unlimited.publish(&item).await.unwrap();
            let cost = self.unlimited.held_bytes() - before;
            let json = serde_json::to_vec(&item).unwrap().len();
            self.model.publish(id, key, json, cost);
            self.readers.iter_mut().for_each(Reader::assert_woken);
        }
    }

    fn read(&mut self, reader: usize, times: usize) {
        let reader = &mut self.readers[reader];
        for _ in 0..times {
            let expected = self.model.read(reader);
            assert_eq!(reader.read(&self.store), expected);
            let position = reader.subscription.position().to_string();
            assert_eq!(self.store.number(&position), reader.seen);
            if matches!(expected, Seen::Nothing | Seen::End) {
                break;
            }
        }
    }

    fn reconnect(&mut self, reader: usize) {
        let reader = &mut self.readers[reader];
        let Reader {
            seen,
            told,
            after_gap,
            ..
        } = *reader;
        self.model.evict();
        let subscriber = Subscriber {
            topic: &self.topic,
            after_gap,
        };
        *reader = Reader {
            subscription: subscriber.subscribe(reader.subscription.position()),
            woken: Arc::default(),
            is_waiting: false,
            behind: seen,
            taken: VecDeque::new(),
            seen,
            told,
            gap: None,
            after_gap,
            has_read: false,
            resumes: true,
            has_ended: false,
        };
    }
}

/// Applies `ops` to a topic and to the model, and asserts that the two agree.
async fn compare(store: &Store, shape: Shape, ops: Vec<Op>) {
    let mut comparison = Comparison::new(store, shape).await;
    for op in ops {
        comparison.apply(op).await;
        let Comparison {
            topic,
            model,
            readers,
            ..
        } = &comparison;
        assert_eq!(topic.subscribers(), readers.len());
        assert_eq!(topic.is_finished(), model.finished);
    }
    for reader in 0..comparison.readers.len() {
        comparison.read(reader, usize::MAX);
    }
}

fn op() -> impl Strategy<Value = Op> {
    let size = prop_oneof![4 => 0..200_usize, 1 => 2_000..20_000_usize];
    let from = prop_oneof![
        Just(From::Now),
        Just(From::First),
        (0..100_usize).prop_map(From::Latest),
        (0..1000_u64).prop_map(From::Number),
        Just(From::OtherEpoch),
        Just(From::Garbage),
    ];
    let after_gap = prop_oneof![
        3 => Just(None),
        1 => Just(Some(Start::Now)),
        1 => Just(Some(Start::First)),
        2 => (0..30_usize).prop_map(|count| Some(Start::Latest(count))),
    ];
    let reader = 0..16_usize;
    prop_oneof![
        120 => (size, 0..5_u8).prop_map(|(size, key)| Op::Publish { size, key }),
        30 => (from, after_gap).prop_map(|(from, after_gap)| Op::Subscribe { from, after_gap }),
        80 => (reader.clone(), 1..100_usize).prop_map(|(reader, times)| Op::Read { reader, times }),
        20 => reader.clone().prop_map(|reader| Op::Reconnect { reader }),
        10 => reader.prop_map(|reader| Op::Leave { reader }),
        20 => (0..2_000_u64).prop_map(|millis| Op::Wait { millis }),
        1 => Just(Op::Finish),
    ]
}

fn shape() -> impl Strategy<Value = Shape> {
    (
        prop_oneof![1..20_usize, 100..200_usize],
        prop_oneof![Just(usize::MAX), 100..40_000_usize],
        prop_oneof![2 => Just(None), 1 => (1..5_000_u64).prop_map(Some)],
        prop_oneof![
            3 => Just(Overflow::Skip),
            1 => Just(Overflow::Latest),
            2 => Just(Overflow::LatestBy),
            1 => Just(Overflow::Disconnect),
        ],
    )
}

/// Publishes, subscribes, reads, reconnects, evicts and finishes in arbitrary order. Every read must
/// return the same result as the model, and every waiting reader must be woken.
#[test_case(Store::Memory, 400; "memory")]
#[test_case(Store::log(), 20; "log")]
fn each_reader_receives_what_the_model_predicts(store: Store, cases: u32) {
    let is_log = matches!(store, Store::Log(_));
    // The clock is paused so that the test can make events expire. A log does not work with a paused
    // clock, so in a log, no events expire.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(!is_log)
        .build()
        .unwrap();
    let inputs = (shape(), prop::collection::vec(op(), 1..300));
    check(
        &runtime,
        cases,
        &inputs,
        async move |(mut shape, mut ops)| {
            if is_log {
                shape.2 = None;
                ops.retain(|op| !matches!(op, Op::Wait { .. }));
            }
            compare(&store, shape, ops).await;
        },
    );
}
