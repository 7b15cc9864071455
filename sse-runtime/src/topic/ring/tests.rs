use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        TryLockError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::BytesMut;

use super::{overflow::NewestByKey, *};
use crate::{
    generator::frame_buffer::SHARED,
    topic::{
        Start,
        backend::Read,
        batch::{BYTES, Batch},
    },
};

fn ring(overflow: Overflow<u64>) -> Arc<Ring<u64>> {
    let capacity = Capacity {
        events: 10,
        bytes: usize::MAX,
        age: None,
    };
    Arc::new(Ring::new(capacity, overflow))
}

fn publish(ring: &Ring<u64>, value: u64, len: usize) {
    let frame = BytesMut::zeroed(len);
    ring.add(Encoded {
        value,
        frame,
        key: None,
        owner: None,
    })
    .unwrap();
}

fn read(reader: &mut Box<dyn Reader<u64>>) -> Arc<Batch<u64>> {
    let mut cx = Context::from_waker(Waker::noop());
    match reader.poll_read(&mut cx) {
        Poll::Ready(Read::Events { batch, .. }) => batch,
        other => panic!("expected several events, got {other:?}"),
    }
}

#[test]
fn readers_at_the_same_position_share_a_batch() {
    let ring = ring(Overflow::Skip);
    let mut readers: Vec<_> = (0..4)
        .map(|_| Arc::clone(&ring).subscribe(StartAt::Start(Start::Now), None))
        .collect();
    publish(&ring, 1, 100);
    publish(&ring, 2, 100);
    let [first, second] = [0, 1].map(|reader: usize| read(&mut readers[reader]));
    assert!(Arc::ptr_eq(&first, &second));
    let len: usize = first
        .deliveries()
        .iter()
        .map(|it| it.entry.frame.len())
        .sum();
    assert_eq!(first.frames().len(), len);

    // A reader that polls later also receives the events published in the meantime.
    publish(&ring, 3, 100);
    let values = |batch: Arc<Batch<u64>>| {
        let values = batch.deliveries().iter().map(|it| **it);
        values.collect::<Vec<_>>()
    };
    assert_eq!(values(read(&mut readers[2])), [1, 2, 3]);
    publish(&ring, 4, 100);
    assert_eq!(values(read(&mut readers[0])), [3, 4]);
    assert_eq!(values(read(&mut readers[3])), [1, 2, 3, 4]);
}

#[test]
fn batch_size_is_bounded() {
    let newest = NewestByKey::new(|value: &u64| value % 100);
    let ring = ring(Overflow::LatestBy(Box::new(newest)));
    let mut reader = Arc::clone(&ring).subscribe(StartAt::Start(Start::Now), None);
    for value in 100..200 {
        publish(&ring, value, 1_000);
    }
    let mut values = Vec::new();
    while values.len() < 100 {
        let batch = read(&mut reader);
        assert!(batch.frames().len() <= BYTES);
        values.extend(batch.deliveries().iter().map(|it| **it));
    }
    assert_eq!(values, (100..200).collect::<Vec<_>>());
}

#[test]
fn large_event_is_not_copied_into_a_batch() {
    let ring = ring(Overflow::Skip);
    let mut reader = Arc::clone(&ring).subscribe(StartAt::Start(Start::Now), None);
    for (value, len) in [(1, 100), (2, 100), (3, SHARED), (4, 100), (5, 100)] {
        publish(&ring, value, len);
    }
    let values = [0; 3].map(|_| {
        let batch = read(&mut reader);
        let values = batch.deliveries().iter().map(|it| **it);
        values.collect::<Vec<_>>()
    });
    assert_eq!(values, [vec![1, 2], vec![3], vec![4, 5]]);
}

#[tokio::test(start_paused = true)]
async fn cached_batch_is_dropped_when_no_reader_needs_it() {
    let capacity = Capacity {
        events: 10,
        bytes: usize::MAX,
        age: Some(Duration::from_secs(1)),
    };
    let ring = Arc::new(Ring::new(capacity, Overflow::Skip));
    let [mut first, mut second, third] =
        [0; 3].map(|_| Arc::clone(&ring).subscribe(StartAt::Start(Start::Now), None));
    let is_held = || ring.state().batch.is_some();
    let publish_two = || {
        publish(&ring, 1, 100);
        publish(&ring, 2, 100);
    };
    publish_two();
    read(&mut first);
    assert!(is_held());
    publish(&ring, 3, 100);
    assert!(!is_held(), "the batch lacks the newest event");
    read(&mut second);
    drop((first, second));
    assert!(is_held());
    drop(third);
    assert!(!is_held(), "the last reader has left");

    // Readers that resume from the same position share the cached batch.
    let start = StartAt::Start(Start::First);
    let mut resumed = Arc::clone(&ring).subscribe(start.clone(), None);
    let first = read(&mut resumed);
    let mut next = Arc::clone(&ring).subscribe(start, None);
    assert!(Arc::ptr_eq(&first, &read(&mut next)));

    tokio::time::advance(Duration::from_secs(2)).await;
    drop(Arc::clone(&ring).subscribe(StartAt::Start(Start::Now), None));
    assert!(!is_held(), "the batch's events are too old");
}

/// Records whether its topic's lock is held when it is dropped.
struct LockProbe {
    ring: Weak<Ring<LockProbe>>,
    was_locked: Arc<AtomicBool>,
}

impl Drop for LockProbe {
    fn drop(&mut self) {
        if let Some(ring) = self.ring.upgrade()
            && let Err(TryLockError::WouldBlock) = ring.state.try_lock()
        {
            self.was_locked.store(true, Ordering::Relaxed);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn value_is_dropped_after_the_lock_is_released() {
    let capacity = Capacity {
        events: 1_000,
        bytes: usize::MAX,
        age: Some(Duration::from_secs(2)),
    };
    // The key function panics on the third event.
    let calls = AtomicUsize::new(0);
    let key = move |_: &LockProbe| {
        let call = calls.fetch_add(1, Ordering::Relaxed);
        assert!(call != 2, "the key function panics");
        call
    };
    let newest = Overflow::LatestBy(Box::new(NewestByKey::new(key)));
    let was_locked = Arc::new(AtomicBool::new(false));
    let publish = |ring: &Arc<Ring<LockProbe>>| {
        let value = LockProbe {
            ring: Arc::downgrade(ring),
            was_locked: Arc::clone(&was_locked),
        };
        let frame = BytesMut::zeroed(10);
        ring.add(Encoded {
            value,
            frame,
            key: None,
            owner: None,
        })
        .unwrap();
    };

    let panicking = Arc::new(Ring::new(capacity, newest));
    publish(&panicking);
    publish(&panicking);
    let panicked = catch_unwind(AssertUnwindSafe(|| publish(&panicking)));
    assert!(panicked.is_err());
    assert!(!was_locked.load(Ordering::Relaxed), "after a panic");

    let ring = Arc::new(Ring::new(capacity, Overflow::Skip));
    let [mut first, mut second] =
        [0; 2].map(|_| Arc::clone(&ring).subscribe(StartAt::Start(Start::Now), None));
    let mut cx = Context::from_waker(Waker::noop());
    let mut read = |reader: &mut Box<dyn Reader<LockProbe>>| drop(reader.poll_read(&mut cx));
    publish(&ring);
    publish(&ring);
    read(&mut second);
    for _ in 0..300 {
        tokio::time::advance(Duration::from_millis(5)).await;
        publish(&ring);
    }
    // This batch begins with the events that will be evicted first.
    read(&mut first);
    tokio::time::advance(Duration::from_millis(600)).await;
    // This read replaces the batch.
    read(&mut second);
    drop((first, second));
    tokio::time::advance(Duration::from_secs(10)).await;
    drop(Arc::clone(&ring).subscribe(StartAt::Start(Start::Now), None));
    assert!(!was_locked.load(Ordering::Relaxed));
}

#[test]
fn slots_are_released_when_many_readers_leave() {
    let mut readers = Waiters::default();
    let mut slots: Vec<usize> = (0..10_000).map(|_| readers.enter()).collect();
    let stays = slots.remove(3);
    fastrand::Rng::with_seed(7).shuffle(&mut slots);
    for slot in slots {
        readers.leave(slot);
    }
    assert_eq!(readers.count(), 1);
    assert_eq!(readers.waiting.len(), stays + 1);
    assert!(readers.waiting.capacity() < 1_000);
    // New readers reuse the free slots.
    assert_eq!(readers.enter(), 0);
    assert_eq!(readers.count(), 2);
}

/// Random inserts, cuts, rebases and skips, as a follower makes them, with readers.
#[tokio::test(start_paused = true)]
async fn held_bytes_are_exact_after_every_change() {
    use crate::event::position::Position;
    for round in 0..1_000_u64 {
        let mut random = fastrand::Rng::with_seed(round);
        let overflow = match round % 3 {
            0 => Overflow::Skip,
            1 => Overflow::Latest,
            _ => Overflow::LatestBy(Box::new(NewestByKey::new(|value: &u64| value % 4))),
        };
        let capacity = Capacity {
            events: 6,
            bytes: if round % 2 == 0 { usize::MAX } else { 1_500 },
            age: (round % 5 == 0).then_some(Duration::from_secs(5)),
        };
        let ring = Arc::new(Ring::<u64>::new(capacity, overflow));
        let sum = Arc::new(AtomicUsize::new(0));
        ring.count_in(&sum);
        let log: Source = Arc::new(());
        let mut readers: Vec<Box<dyn Reader<u64>>> = Vec::new();
        let mut epoch = Epoch::random();
        ring.rebase(epoch);
        for _ in 0..60 {
            let newest = ring.newest();
            match random.u32(..20) {
                0 => {
                    epoch = Epoch::random();
                    ring.rebase(epoch);
                }
                1 => {
                    let number = newest.number + random.u64(1..5);
                    let mark = random.bool().then(|| Mark::new(random.u32(..)));
                    ring.skip_to(Place { number, mark });
                }
                2 => {
                    let lowest = ring.before_oldest().number.saturating_sub(2);
                    ring.cut(Some(random.u64(lowest..=newest.number)));
                }
                3 => {
                    ring.cut(None);
                    ring.skip_to(Place {
                        number: random.u64(..10),
                        mark: None,
                    });
                }
                4 => {
                    let from = match random.u32(..3) {
                        0 => StartAt::Start(Start::First),
                        1 => StartAt::Start(Start::Latest(3)),
                        _ => {
                            let mark = Mark::new(random.u32(..));
                            let number = random.u64(..20);
                            let reported = random.u64(..9);
                            let position = Position::with_mark(epoch, number, Some(mark));
                            StartAt::After(position.with_reported(reported).to_string())
                        }
                    };
                    let after_gap = random.bool().then_some(Start::Latest(2));
                    readers.push(ring.subscribe_with(
                        &from,
                        after_gap,
                        Some((Arc::clone(&log), &|| 1)),
                    ));
                }
                5 => drop(readers.pop()),
                6 => tokio::time::advance(Duration::from_secs(2)).await,
                7 => ring.set_checked(1),
                8..12 => {
                    let mut cx = Context::from_waker(Waker::noop());
                    for reader in &mut readers {
                        for _ in 0..10 {
                            if reader.poll_read(&mut cx).is_pending() {
                                break;
                            }
                        }
                        let _ = reader.position();
                    }
                }
                _ => {
                    // The numbers of an engine may have holes.
                    let number = newest.number + 1 + u64::from(random.u32(..8) == 0);
                    let mark = Mark::new(random.u32(..));
                    let position = Position::with_mark(epoch, number, Some(mark));
                    let value = (random.u32(..8) > 0).then(|| random.u64(..100));
                    let frame = vec![b'x'; random.usize(..200)];
                    let entry = Entry::stored(position, value, &frame);
                    ring.insert(Arc::new(entry), Instant::now());
                }
            }
            let state = ring.state();
            let oldest = state.before_oldest();
            let mut expected: usize = state.held.iter().map(|(_, entry)| entry.cost()).sum();
            if let Overflow::LatestBy(newest) = &state.overflow {
                let kept = newest.after(0);
                assert!(kept.iter().map(|(number, _)| number).eq(&state.newest));
                let only = kept.iter().filter(|(number, _)| *number <= oldest);
                expected += only.map(|(_, entry)| entry.cost()).sum::<usize>();
            }
            assert_eq!(state.bytes, expected, "round {round}");
            assert_eq!(sum.load(Ordering::Relaxed), expected, "round {round}");
        }
        drop(readers);
        drop(ring);
        assert_eq!(sum.load(Ordering::Relaxed), 0);
    }
}
