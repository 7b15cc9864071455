//! Tests readers and publishers on separate threads.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
    thread,
};

use sse_runtime::{
    Start, Topic,
    topic::{Gap, Update},
};

use super::{number, poll_once};

/// A reader that checks the sequence numbers of the events that it receives.
struct Exact {
    behind: u64,
    missed: u64,
    /// The last value received from each publisher.
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
                assert!(value > *last, "{value} of {publisher} after {last}");
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
#[test]
fn concurrent_readers_and_publishers_lose_nothing() {
    const PUBLISHERS: usize = 3;
    const EACH: u64 = 20_000;
    const ALL: u64 = PUBLISHERS as u64 * EACH;
    for events in [16, usize::try_from(ALL).unwrap()] {
        let topic: Topic<(usize, u64)> = Topic::in_memory(events);
        let readers: Vec<_> = (0..6)
            .map(|reader| {
                // Subscribe before anything is published. Each reader then starts at the first
                // event.
                let mut updates = topic.subscribe(Start::Now);
                let topic = topic.clone();
                spawn_thread(async move || {
                    let mut exact = Exact::new(0, PUBLISHERS);
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
                        topic.try_publish(&(publisher, value)).unwrap();
                    }
                })
            })
            .collect();
        for publisher in publishers {
            publisher.join().unwrap();
        }
        assert!(poll_once(topic.finish(), Waker::noop()).is_ready());
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
#[test]
fn wake_up_between_read_and_wait_is_not_lost() {
    const READERS: usize = 3;
    const ROUNDS: u64 = 20_000;
    let topic: Topic<(usize, u64)> = Topic::in_memory(4);
    let seen: Vec<Arc<AtomicU64>> = (0..READERS).map(|_| Arc::default()).collect();
    let readers: Vec<_> = seen
        .iter()
        .map(|seen| {
            let (mut updates, seen) = (topic.subscribe(Start::Now), Arc::clone(seen));
            spawn_thread(async move || {
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
        topic.try_publish(&(0, round)).unwrap();
        // A reader that is not woken panics when its wait times out.
        while seen
            .iter()
            .any(|seen| seen.load(Ordering::Acquire) != round)
            && !readers.iter().any(thread::JoinHandle::is_finished)
        {
            thread::yield_now();
        }
    }
    assert!(poll_once(topic.finish(), Waker::noop()).is_ready());
    for reader in readers {
        reader.join().unwrap();
    }
}
