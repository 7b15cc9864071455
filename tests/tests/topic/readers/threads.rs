//! Tests readers and publishers on separate threads.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use sse_runtime::{
    Start, Topic,
    topic::{Gap, Update},
};
use support::{Store, publish_all};
use test_case::test_case;

/// A reader that checks the sequence numbers of the events that it receives.
struct Exact {
    store: Store,
    behind: u64,
    missed: u64,
    /// The last value received from each publisher.
    by_publisher: Vec<u64>,
}

impl Exact {
    fn new(store: &Store, publishers: usize) -> Self {
        Self {
            store: store.clone(),
            behind: 0,
            missed: 0,
            by_publisher: vec![0; publishers],
        }
    }

    fn saw(&mut self, seen: Result<Update<(usize, u64)>, Gap>) {
        match seen {
            Ok(update) => {
                let number = self.store.number(&update.id().to_string());
                assert_eq!(number, self.behind + 1);
                self.behind += 1;
                let (publisher, value) = *update;
                let last = &mut self.by_publisher[publisher];
                assert!(value > *last, "{value} of {publisher} after {last}");
                *last = value;
            }
            Err(gap) => {
                let missed = gap.missed().unwrap();
                assert!(missed > 0);
                self.behind += missed;
                self.missed += missed;
                let number = self.store.number(&gap.position().to_string());
                assert_eq!(number, self.behind);
            }
        }
    }
}

fn spawn_thread<F, Fut>(run: F) -> thread::JoinHandle<Fut::Output>
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

/// Publishers and readers run on separate threads. In the first run, the ring is so small that
/// readers are overtaken. In the second run, the ring holds every event.
#[test_case(Store::Memory, 20_000; "memory")]
#[test_case(Store::log(), 2_000; "log")]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn concurrent_readers_and_publishers_lose_nothing(store: Store, each: u64) {
    const PUBLISHERS: usize = 3;
    /// The number of events that each publisher publishes to a log at the same time.
    const AT_ONCE: usize = 100;
    let all = PUBLISHERS as u64 * each;
    for events in [16, usize::try_from(all).unwrap()] {
        let topic: Topic<(usize, u64)> = store.topic(Topic::builder().keep(events)).await;
        let readers: Vec<_> = (0..6)
            .map(|reader| {
                // Subscribe before anything is published. Each reader then starts at the first
                // event.
                let mut updates = topic.subscribe(Start::Now);
                let topic = topic.clone();
                let mut exact = Exact::new(&store, PUBLISHERS);
                spawn_thread(async move || {
                    let mut until_reconnect = fastrand::u32(1..300);
                    while let Some(seen) = updates.recv().await {
                        exact.saw(seen);
                        until_reconnect -= 1;
                        // Some readers never reconnect.
                        if until_reconnect == 0 && reader % 3 != 0 {
                            updates = topic.subscribe(updates.position());
                        }
                        if until_reconnect == 0 {
                            until_reconnect = fastrand::u32(1..300);
                        }
                    }
                    assert_eq!(exact.behind, all);
                    exact.missed
                })
            })
            .collect();
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                let (store, topic) = (store.clone(), topic.clone());
                spawn_thread(async move || {
                    let values: Vec<_> = (1..=each).map(|value| (publisher, value)).collect();
                    match store {
                        Store::Memory => {
                            for value in &values {
                                topic.try_publish(value).unwrap();
                            }
                        }
                        Store::Log(_) => {
                            for values in values.chunks(AT_ONCE) {
                                publish_all(&topic, values.to_vec()).await;
                            }
                        }
                    }
                })
            })
            .collect();
        for publisher in publishers {
            publisher.join().unwrap();
        }
        topic.finish().await.unwrap();
        let missed: u64 = readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .sum();
        match events {
            16 => assert!(
                missed > 0,
                "no reader was overtaken, so the test proved nothing"
            ),
            _ => assert_eq!(missed, 0),
        }
        assert_eq!(topic.subscribers(), 0);
    }
}

/// The publisher waits for every reader before it publishes the next event. Each event may
/// therefore be published after a reader has found no event but before the reader waits. If an
/// event fails to wake a reader, that reader is never woken, because no other event is published
/// until the reader has read this one.
#[test_case(Store::Memory, 20_000; "memory")]
#[test_case(Store::log(), 1_000; "log")]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn wake_up_between_read_and_wait_is_not_lost(store: Store, rounds: u64) {
    const READERS: usize = 3;
    let topic: Topic<(usize, u64)> = store.topic(Topic::builder().keep(4)).await;
    let seen: Vec<Arc<AtomicU64>> = (0..READERS).map(|_| Arc::default()).collect();
    let readers: Vec<_> = seen
        .iter()
        .map(|seen| {
            let (mut updates, seen) = (topic.subscribe(Start::Now), Arc::clone(seen));
            let mut exact = Exact::new(&store, 1);
            spawn_thread(async move || {
                while let Some(update) = updates.recv().await {
                    exact.saw(update);
                    seen.store(exact.behind, Ordering::Release);
                }
                assert_eq!((exact.behind, exact.missed), (rounds, 0));
            })
        })
        .collect();
    for round in 1..=rounds {
        topic.publish(&(0, round)).await.unwrap();
        // A reader that is not woken panics when its wait times out.
        while seen
            .iter()
            .any(|seen| seen.load(Ordering::Acquire) != round)
            && !readers.iter().any(thread::JoinHandle::is_finished)
        {
            thread::yield_now();
        }
    }
    topic.finish().await.unwrap();
    for reader in readers {
        reader.join().unwrap();
    }
}
