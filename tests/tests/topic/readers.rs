//! Topics: what readers get, whatever happens in between, against a model that is too simple to be wrong.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use proptest::prelude::*;
use sse_runtime::{EventId, Gap, GapReason, Start, Subscription, Topic, Update};
use tokio::time::{Instant, advance};

#[derive(Clone, Debug, serde::Serialize)]
struct Item {
    number: u64,
    key: u8,
    fill: String,
}

/// What stands behind the dash of a topic's id, and what stands before it.
fn parts(id: &EventId) -> (String, u64) {
    let id = id.to_string();
    let (epoch, number) = id.split_once('-').unwrap();
    (epoch.to_owned(), number.parse().unwrap())
}

fn number(id: &EventId) -> u64 {
    parts(id).1
}

/// Notes that it was woken.
#[derive(Debug, Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn poll_once<F: Future>(future: F, waker: &Waker) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(waker))
}

// ---------------------------------------------------------------------------------------------------------------------
// The model
// ---------------------------------------------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug)]
enum Overflow {
    Skip,
    Latest,
    LatestBy,
    Disconnect,
}

/// Everything that was ever published, and the number behind which it is still held.
struct Model {
    events: usize,
    bytes: usize,
    age: Option<Duration>,
    overflow: Overflow,
    epoch: String,
    published: Vec<Published>,
    behind_oldest: u64,
    finished: bool,
}

struct Published {
    key: u8,
    len: usize,
    /// How many bytes it takes to hold it.
    cost: usize,
    at: Instant,
}

/// A reader, and what the model says of it.
struct Reader {
    subscription: Subscription<Item>,
    woken: Arc<Woken>,
    is_waiting: bool,
    /// Behind what was taken out of the topic last.
    behind: u64,
    /// Taken, and not handed out yet.
    taken: VecDeque<(u64, u64)>,
    /// Behind what was handed out last: what the client would come back with.
    seen: u64,
    /// How many events behind that it was told that it will not get.
    told: u64,
    /// Of which it was told nothing yet.
    gap: Option<(GapReason, u64)>,
    has_read: bool,
    resumes: bool,
    has_ended: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Event(u64),
    Gap(GapReason, Option<u64>, u64),
    Nothing,
    End,
}

#[derive(Clone, Debug)]
enum Op {
    Publish { size: usize, key: u8 },
    Subscribe(From),
    Read { reader: usize, times: usize },
    Reconnect { reader: usize },
    Leave { reader: usize },
    Wait { millis: u64 },
    Finish,
}

#[derive(Clone, Copy, Debug)]
enum From {
    Now,
    First,
    Latest(usize),
    /// So many thousandths of all numbers that could be asked for, and of a few that could not.
    Number(u64),
    OtherEpoch,
    Garbage,
}

impl Model {
    fn last(&self) -> u64 {
        self.published.len() as u64
    }

    fn of(&self, number: u64) -> &Published {
        &self.published[usize::try_from(number).unwrap() - 1]
    }

    fn held(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.behind_oldest + 1..=self.last()
    }

    fn evict(&mut self) {
        loop {
            let held = self.last() - self.behind_oldest;
            // The newest of each key stay.
            let mut all: BTreeSet<u64> = self.held().collect();
            if let Overflow::LatestBy = self.overflow {
                let newest: BTreeMap<u8, u64> = (1..=self.last())
                    .map(|number| (self.of(number).key, number))
                    .collect();
                all.extend(newest.into_values());
            }
            let bytes: usize = all.iter().map(|number| self.of(*number).cost).sum();
            let is_old = |at: Instant| self.age.is_some_and(|age| at.elapsed() > age);
            let evicts = held > self.events as u64
                || (bytes > self.bytes && held > 1)
                || (held > 0 && is_old(self.of(self.behind_oldest + 1).at));
            if !evicts {
                return;
            }
            self.behind_oldest += 1;
        }
    }

    fn publish(&mut self, key: u8, json: usize, cost: usize) {
        let number = self.last() + 1;
        let id = format!("{}-{number}", self.epoch);
        self.published.push(Published {
            key,
            len: "id: \ndata: \n\n".len() + id.len() + json,
            cost,
            at: Instant::now(),
        });
        self.evict();
    }

    /// What the next read has to return.
    fn read(&mut self, reader: &mut Reader) -> Seen {
        if let Some((number, told)) = reader.taken.pop_front() {
            reader.seen = number;
            reader.told = told;
            return Seen::Event(number);
        }
        if reader.has_ended {
            return Seen::End;
        }
        let is_first = !std::mem::replace(&mut reader.has_read, true);
        if let Some((reason, position)) = reader.gap.take() {
            reader.seen = position;
            return Seen::Gap(reason, None, position);
        }
        self.evict();
        if reader.behind < self.behind_oldest || reader.told > 0 {
            let was_away = is_first && reader.resumes;
            let (go_on, kept) = match self.overflow {
                Overflow::Disconnect if !was_away => {
                    reader.has_ended = true;
                    return Seen::End;
                }
                Overflow::Skip | Overflow::Disconnect => (self.behind_oldest, VecDeque::new()),
                Overflow::Latest => {
                    let newest = (self.last() - 1).max(self.behind_oldest);
                    (newest, VecDeque::new())
                }
                Overflow::LatestBy => {
                    let mut newest = BTreeMap::new();
                    for number in reader.behind + 1..=self.last() {
                        newest.insert(self.of(number).key, number);
                    }
                    let mut newest: Vec<_> = newest.into_values().collect();
                    newest.sort_unstable();
                    (self.last(), newest.into())
                }
            };
            let superseded = go_on - reader.behind - kept.len() as u64;
            let missed = superseded - std::mem::take(&mut reader.told);
            let told = match self.overflow {
                Overflow::LatestBy => {
                    reader.told = superseded;
                    reader.behind
                }
                _ => go_on,
            };
            reader.behind = go_on;
            let count = kept.len() as u64;
            let after = |(given, number)| (number, go_on - number - (count - given));
            reader.taken = (1..).zip(kept).map(after).collect();
            if missed == 0 {
                return self.read(reader);
            }
            reader.seen = told;
            let reason = match was_away {
                true => GapReason::TooOld,
                false => GapReason::Overtaken,
            };
            return Seen::Gap(reason, Some(missed), told);
        }
        let mut bytes = 0;
        for number in (reader.behind + 1..=self.last()).take(256) {
            let len = self.of(number).len;
            bytes += len;
            let is_large = len >= 4 * 1024;
            if !reader.taken.is_empty() && (is_large || bytes > 32 * 1024) {
                break;
            }
            reader.taken.push_back((number, 0));
            reader.behind = number;
            if is_large {
                break;
            }
        }
        if !reader.taken.is_empty() {
            return self.read(reader);
        }
        if self.finished {
            reader.has_ended = true;
            return Seen::End;
        }
        Seen::Nothing
    }

    fn subscribe(&mut self, topic: &Topic<Item>, from: From) -> Reader {
        self.evict();
        let (oldest, last) = (self.behind_oldest, self.last());
        let id = |text: String| EventId::new(text).unwrap();
        let (subscription, behind, gap) = match from {
            From::Now => (topic.subscribe(Start::Now), last, None),
            From::First => (topic.subscribe(Start::First), oldest, None),
            From::Latest(count) => {
                let behind = last.saturating_sub(count as u64).max(oldest);
                (topic.subscribe(Start::Latest(count)), behind, None)
            }
            From::Number(thousandths) => {
                let number = (last + 3) * thousandths / 1000;
                let subscription = topic.subscribe(id(format!("{}-{number}", self.epoch)));
                match number > last {
                    true => (subscription, oldest, Some((GapReason::Unknown, oldest))),
                    false => (subscription, number, None),
                }
            }
            From::OtherEpoch => {
                let gap = Some((GapReason::OtherEpoch, oldest));
                let subscription = topic.subscribe(id(format!("zzzzzzzzzzzu-{last}")));
                (subscription, oldest, gap)
            }
            From::Garbage => {
                let gap = Some((GapReason::Unknown, oldest));
                (topic.subscribe(id("7".to_owned())), oldest, gap)
            }
        };
        Reader {
            subscription,
            woken: Arc::default(),
            is_waiting: false,
            behind,
            taken: VecDeque::new(),
            seen: behind,
            told: 0,
            gap,
            has_read: false,
            resumes: matches!(from, From::Number(_) | From::OtherEpoch | From::Garbage),
            has_ended: false,
        }
    }
}

impl Reader {
    fn read(&mut self) -> Seen {
        self.woken.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&self.woken));
        let seen = match poll_once(self.subscription.recv(), &waker) {
            Poll::Pending => Seen::Nothing,
            Poll::Ready(None) => Seen::End,
            Poll::Ready(Some(Ok(update))) => {
                assert_eq!(
                    number(update.id()),
                    update.number,
                    "an event under another's id"
                );
                Seen::Event(update.number)
            }
            Poll::Ready(Some(Err(gap))) => {
                Seen::Gap(gap.reason(), gap.missed(), number(gap.position()))
            }
        };
        self.is_waiting = seen == Seen::Nothing;
        seen
    }

    /// That whoever waited has been woken.
    fn assert_woken(&mut self) {
        if std::mem::take(&mut self.is_waiting) {
            assert!(self.woken.0.load(Ordering::Relaxed), "nobody woke a reader");
        }
    }
}

async fn compare(
    (events, bytes, age, overflow): (usize, usize, Option<u64>, Overflow),
    ops: Vec<Op>,
) {
    let age = age.map(Duration::from_millis);
    let mut builder = Topic::<Item>::builder().events(events).bytes(bytes);
    if let Some(age) = age {
        builder = builder.age(age);
    }
    let topic: Topic<Item> = match overflow {
        Overflow::Skip => builder,
        Overflow::Latest => builder.latest(),
        Overflow::LatestBy => builder.latest_by(|item| item.key),
        Overflow::Disconnect => builder.disconnect(),
    }
    .build();
    // It holds everything, and so says what each event costs.
    let unlimited: Topic<Item> = Topic::builder()
        .events(usize::MAX)
        .bytes(usize::MAX)
        .build();
    let (epoch, first) = parts(&topic.subscribe(Start::Now).position());
    assert_eq!(first, 0);
    let mut model = Model {
        events,
        bytes,
        age,
        overflow,
        epoch,
        published: Vec::new(),
        behind_oldest: 0,
        finished: false,
    };
    let mut readers: Vec<Reader> = Vec::new();
    for op in ops {
        let chosen = |of: usize| of.checked_rem(readers.len());
        match op {
            Op::Publish { size, key } => {
                let item = Item {
                    number: model.last() + 1,
                    key,
                    fill: "x".repeat(size),
                };
                let published = topic.publish(&item).await;
                assert_eq!(published.is_ok(), !model.finished);
                if let Ok(id) = published {
                    assert_eq!(number(&id), item.number);
                    let before = unlimited.held_bytes();
                    unlimited.publish(&item).await.unwrap();
                    let cost = unlimited.held_bytes() - before;
                    model.publish(key, serde_json::to_vec(&item).unwrap().len(), cost);
                    readers.iter_mut().for_each(Reader::assert_woken);
                }
            }
            Op::Subscribe(from) => readers.push(model.subscribe(&topic, from)),
            Op::Read { reader, times } => {
                let Some(reader) = chosen(reader) else {
                    continue;
                };
                let reader = &mut readers[reader];
                for _ in 0..times {
                    let expected = model.read(reader);
                    assert_eq!(reader.read(), expected);
                    assert_eq!(number(&reader.subscription.position()), reader.seen);
                    if matches!(expected, Seen::Nothing | Seen::End) {
                        break;
                    }
                }
            }
            Op::Reconnect { reader } => {
                let Some(reader) = chosen(reader) else {
                    continue;
                };
                let Reader { seen, told, .. } = readers[reader];
                model.evict();
                readers[reader] = Reader {
                    subscription: topic.subscribe(readers[reader].subscription.position()),
                    woken: Arc::default(),
                    is_waiting: false,
                    behind: seen,
                    taken: VecDeque::new(),
                    seen,
                    told,
                    gap: None,
                    has_read: false,
                    resumes: true,
                    has_ended: false,
                };
            }
            Op::Leave { reader } => {
                if let Some(reader) = chosen(reader) {
                    readers.swap_remove(reader);
                }
            }
            Op::Wait { millis } => advance(Duration::from_millis(millis)).await,
            Op::Finish => {
                topic.finish();
                model.finished = true;
                readers.iter_mut().for_each(Reader::assert_woken);
            }
        }
        assert_eq!(topic.subscribers(), readers.len());
        assert_eq!(topic.is_finished(), model.finished);
    }
    // Whatever is left: each reader comes to its end, or to where it waits.
    for reader in &mut readers {
        loop {
            let expected = model.read(reader);
            assert_eq!(reader.read(), expected);
            if matches!(expected, Seen::Nothing | Seen::End) {
                break;
            }
        }
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
    let reader = 0..16_usize;
    prop_oneof![
        120 => (size, 0..5_u8).prop_map(|(size, key)| Op::Publish { size, key }),
        30 => from.prop_map(Op::Subscribe),
        80 => (reader.clone(), 1..100_usize).prop_map(|(reader, times)| Op::Read { reader, times }),
        20 => reader.clone().prop_map(|reader| Op::Reconnect { reader }),
        10 => reader.prop_map(|reader| Op::Leave { reader }),
        20 => (0..2_000_u64).prop_map(|millis| Op::Wait { millis }),
        1 => Just(Op::Finish),
    ]
}

fn shape() -> impl Strategy<Value = (usize, usize, Option<u64>, Overflow)> {
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

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Publishing, subscribing, reading, coming back, evicting and finishing in any order: each read returns what the
    /// model says, each reader that waits is woken.
    #[test]
    fn every_reader_gets_what_the_model_says(shape in shape(), ops in prop::collection::vec(op(), 1..300)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(compare(shape, ops));
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Threads
// ---------------------------------------------------------------------------------------------------------------------

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// However often a client leaves, also among the newest events of each key: what it has seen and
    /// what it was told that it missed is everything, once.
    #[test]
    fn latest_by_accounts_for_each_event_once(
        events in 1..6_usize,
        steps in prop::collection::vec((0..12_usize, 0..6_usize, any::<bool>()), 1..60),
    ) {
        let topic: Topic<Item> = Topic::builder()
            .events(events)
            .latest_by(|item: &Item| item.key)
            .build();
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
                    Poll::Ready(None) => panic!("nothing has ended"),
                    Poll::Pending => break,
                }
            }
            accounted
        };
        for (publishes, reads, leaves) in steps {
            for _ in 0..publishes {
                published += 1;
                let key = u8::try_from(published * 7 % 5).unwrap();
                let item = Item { number: published, key, fill: String::new() };
                topic.publish_now(&item).unwrap();
            }
            read(&mut updates, reads);
            if leaves {
                let id = updates.position().to_string();
                updates = topic.subscribe(EventId::new(id).unwrap());
            }
        }
        assert_eq!(read(&mut updates, usize::MAX), published);
    }
}

/// What is held is the value, the frame and what is around them, whatever the frame's length.
#[test]
fn bytes_count_what_is_held() {
    const LIMIT: usize = 1024 * 1024;
    let numbers: Topic<u32> = Topic::builder().events(usize::MAX).bytes(LIMIT).build();
    for number in 0..100_000 {
        numbers.publish_now(&number).unwrap();
    }
    let mut held = 0;
    let mut updates = numbers.subscribe(Start::First);
    while let Poll::Ready(Some(Ok(_))) = poll_once(updates.recv(), Waker::noop()) {
        held += 1;
    }
    // A frame has 35 bytes, an entry and its allocations have at least 100 more.
    assert!((1..LIMIT / 135).contains(&held), "{held} events");

    let texts: Topic<String> = Topic::builder().events(usize::MAX).bytes(LIMIT).build();
    for _ in 0..100 {
        texts.publish_now(&"x".repeat(LIMIT / 16)).unwrap();
    }
    let mut held = 0;
    let mut updates = texts.subscribe(Start::First);
    while let Poll::Ready(Some(Ok(_))) = poll_once(updates.recv(), Waker::noop()) {
        held += 1;
    }
    // The text is there twice, as the value and as the frame.
    assert!((1..=8).contains(&held), "{held} texts");
    assert!(texts.held_bytes() <= LIMIT);

    // The newest of each key stays, and counts.
    let by_key: Topic<u32> = Topic::builder()
        .events(1)
        .latest_by(|key: &u32| *key)
        .build();
    by_key.publish_now(&0).unwrap();
    let one = by_key.held_bytes();
    for number in 0..1_000 {
        by_key.publish_now(&(number % 10)).unwrap();
    }
    assert!((10 * one..11 * one).contains(&by_key.held_bytes()));
}

/// A reader that holds everything that it sees against the numbers that must come.
struct Exact {
    behind: u64,
    missed: u64,
    /// The last value of each publisher.
    by_publisher: Vec<u64>,
}

impl Exact {
    fn new(behind: u64, publishers: usize) -> Self {
        Self {
            behind,
            missed: 0,
            by_publisher: vec![0; publishers],
        }
    }

    fn saw(&mut self, seen: Result<Update<(usize, u64)>, Gap>) {
        match seen {
            Ok(update) => {
                assert_eq!(number(update.id()), self.behind + 1);
                self.behind += 1;
                let (publisher, value) = *update;
                let last = &mut self.by_publisher[publisher];
                assert!(value > *last, "{value} of {publisher} behind {last}");
                *last = value;
            }
            Err(gap) => {
                let missed = gap.missed().unwrap();
                assert!(missed > 0);
                self.behind += missed;
                self.missed += missed;
                assert_eq!(number(gap.position()), self.behind);
            }
        }
    }
}

fn on_a_thread_of_its_own<F, Fut>(run: F) -> thread::JoinHandle<Fut::Output>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output: Send + 'static>,
{
    thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(support::within("a thread", run()))
    })
}

/// Publishers and readers on threads of their own, where the ring is as small as here and readers are overtaken, and as
/// large as here and they are not.
#[test]
fn threads_that_publish_read_and_come_back_lose_nothing() {
    const PUBLISHERS: usize = 3;
    const EACH: u64 = 20_000;
    const ALL: u64 = PUBLISHERS as u64 * EACH;
    for events in [16, usize::try_from(ALL).unwrap()] {
        let topic: Topic<(usize, u64)> = Topic::in_memory(events);
        let readers: Vec<_> = (0..6)
            .map(|reader| {
                // Before anything is published: whoever starts later would have to be told where.
                let mut updates = topic.subscribe(Start::Now);
                let topic = topic.clone();
                on_a_thread_of_its_own(async move || {
                    let mut exact = Exact::new(0, PUBLISHERS);
                    let mut until_reconnect = fastrand::u32(1..300);
                    while let Some(seen) = updates.recv().await {
                        exact.saw(seen);
                        until_reconnect -= 1;
                        // Some stay.
                        if until_reconnect == 0 && reader % 3 != 0 {
                            updates = topic.subscribe(updates.position());
                        }
                        if until_reconnect == 0 {
                            until_reconnect = fastrand::u32(1..300);
                        }
                    }
                    assert_eq!(exact.behind, ALL);
                    exact.missed
                })
            })
            .collect();
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                let topic = topic.clone();
                thread::spawn(move || {
                    for value in 1..=EACH {
                        topic.publish_now(&(publisher, value)).unwrap();
                    }
                })
            })
            .collect();
        for publisher in publishers {
            publisher.join().unwrap();
        }
        topic.finish();
        let missed: u64 = readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .sum();
        match events {
            16 => assert!(missed > 0, "nobody was ever overtaken: the test is idle"),
            _ => assert_eq!(missed, 0),
        }
        assert_eq!(topic.subscribers(), 0);
    }
}

/// The publisher waits for all readers before it publishes the next event, so each event finds readers that have just
/// found nothing, and are about to wait. One that is not woken then is never woken.
#[test]
fn no_wake_up_is_lost_between_finding_nothing_and_waiting() {
    const READERS: usize = 3;
    const ROUNDS: u64 = 20_000;
    let topic: Topic<(usize, u64)> = Topic::in_memory(4);
    let seen: Vec<Arc<AtomicU64>> = (0..READERS).map(|_| Arc::default()).collect();
    let readers: Vec<_> = seen
        .iter()
        .map(|seen| {
            let (mut updates, seen) = (topic.subscribe(Start::Now), Arc::clone(seen));
            on_a_thread_of_its_own(async move || {
                let mut exact = Exact::new(0, 1);
                while let Some(update) = updates.recv().await {
                    exact.saw(update);
                    seen.store(exact.behind, Ordering::Release);
                }
                assert_eq!((exact.behind, exact.missed), (ROUNDS, 0));
            })
        })
        .collect();
    for round in 1..=ROUNDS {
        topic.publish_now(&(0, round)).unwrap();
        // A reader that is not woken ends its own wait with a panic.
        while seen
            .iter()
            .any(|seen| seen.load(Ordering::Acquire) != round)
            && !readers.iter().any(thread::JoinHandle::is_finished)
        {
            thread::yield_now();
        }
    }
    topic.finish();
    for reader in readers {
        reader.join().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_become_too_old_is_not_read() {
    let topic: Topic<u64> = Topic::builder().age(Duration::from_secs(1)).build();
    let mut updates = topic.subscribe(Start::First);
    topic.publish(&1).await.unwrap();
    advance(Duration::from_secs(3600)).await;
    let gap = updates.recv().await.unwrap().unwrap_err();
    assert_eq!(
        (gap.reason(), gap.missed()),
        (GapReason::Overtaken, Some(1))
    );
}
