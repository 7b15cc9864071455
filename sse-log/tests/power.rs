//! Simulates power losses with a redb storage back end.
//!
//! A workload runs on a disk that records every operation. The test then simulates a power loss
//! after these operations. Writes since the last sync are lost, torn or reordered, and the log is
//! opened from the bytes that survive. The log must contain all events that were acknowledged or
//! read before the power loss.
//!
//! The environment variable `POWER_STEP` sets the number of operations between power losses. The
//! default is 3. With 1, a power loss is simulated after every operation.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

use redb::StorageBackend;
use sse_log::Log;
use sse_runtime::{EventId, Start, Topic};
use support::{parts, read_all, setting};

/// The number of events that each topic keeps.
const KEEP: usize = 40;

/// The number of operations at the start after each of which the power is cut.
const FIRST: usize = 50;

const TOPICS: [&str; 2] = ["one", "other"];

/// An operation on the disk, or an event that a user has observed.
#[derive(Clone, Debug)]
enum Step {
    Write {
        offset: usize,
        data: Vec<u8>,
    },
    SetLen(usize),
    Sync,
    Observed {
        topic: usize,
        id: EventId,
        value: u64,
    },
}

#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    content: Vec<u8>,
    trace: Vec<Step>,
}

impl Disk {
    fn holding(content: Vec<u8>) -> Self {
        let trace = Vec::new();
        Self(Arc::new(Mutex::new(State { content, trace })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn observe(&self, topic: usize, id: &EventId, value: u64) {
        let id = id.clone();
        self.state().trace.push(Step::Observed { topic, id, value });
    }
}

fn write(content: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(data);
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().content.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let state = self.state();
        let read = state.content.get(offset..offset + out.len());
        out.copy_from_slice(read.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).unwrap();
        let mut state = self.state();
        state.content.resize(len, 0);
        state.trace.push(Step::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.state().trace.push(Step::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let mut state = self.state();
        write(&mut state.content, offset, data);
        let data = data.to_vec();
        state.trace.push(Step::Write { offset, data });
        Ok(())
    }
}

/// The way in which the operations since the last sync are lost.
#[derive(Clone, Copy, Debug)]
enum Cut {
    NoneSurvive,
    /// All operations survive, but the last one may be torn.
    LastTorn,
    /// A random subset of the operations survives. They are applied in random order, and some of
    /// them are torn.
    Reordered,
}

const CUTS: [Cut; 3] = [Cut::NoneSurvive, Cut::LastTorn, Cut::Reordered];

/// Applies the surviving operations to the content at the last sync.
fn survive(content: &[u8], unsynced: &[&Step], cut: Cut) -> Vec<u8> {
    let mut content = content.to_vec();
    let mut unsynced = unsynced.to_vec();
    match cut {
        Cut::NoneSurvive => unsynced.clear(),
        Cut::LastTorn => {}
        Cut::Reordered => {
            fastrand::shuffle(&mut unsynced);
            unsynced.truncate(fastrand::usize(..=unsynced.len()));
        }
    }
    for (index, step) in unsynced.iter().enumerate() {
        let is_torn = match cut {
            Cut::LastTorn => index + 1 == unsynced.len(),
            _ => fastrand::u8(..4) == 0,
        };
        match step {
            Step::Write { offset, data } if is_torn && fastrand::bool() => {
                let written = fastrand::usize(..=data.len());
                write(&mut content, *offset, &data[..written]);
            }
            Step::Write { offset, data } if is_torn => {
                for (sector, data) in data.chunks(512).enumerate() {
                    if fastrand::bool() {
                        write(&mut content, offset + 512 * sector, data);
                    }
                }
            }
            Step::Write { offset, data } => write(&mut content, *offset, data),
            Step::SetLen(len) => content.resize(*len, 0),
            Step::Sync | Step::Observed { .. } => {}
        }
    }
    content
}

/// Computes the content that survives a power loss at a given step of a trace.
struct Cutter<'a> {
    trace: &'a [Step],
    synced: Vec<u8>,
    unsynced: Vec<&'a Step>,
    next: usize,
}

impl<'a> Cutter<'a> {
    fn new(trace: &'a [Step], content: Vec<u8>) -> Self {
        Self {
            trace,
            synced: content,
            unsynced: Vec::new(),
            next: 0,
        }
    }

    /// Returns the content that survives a power loss before step `at`. Successive calls must not
    /// decrease `at`.
    fn cut(&mut self, at: usize, cut: Cut) -> Vec<u8> {
        for step in &self.trace[self.next..at] {
            match step {
                Step::Write { .. } | Step::SetLen(_) => self.unsynced.push(step),
                Step::Sync => {
                    for step in self.unsynced.drain(..) {
                        match step {
                            Step::Write { offset, data } => write(&mut self.synced, *offset, data),
                            Step::SetLen(len) => self.synced.resize(*len, 0),
                            Step::Sync | Step::Observed { .. } => {}
                        }
                    }
                }
                Step::Observed { .. } => {}
            }
        }
        self.next = at;
        survive(&self.synced, &self.unsynced, cut)
    }
}

async fn open_topics(log: &Log) -> Vec<Topic<u64>> {
    let mut topics = Vec::new();
    for name in TOPICS {
        let topic = Topic::builder().keep(KEEP).open(log, name).await;
        topics.push(topic.unwrap());
    }
    topics
}

/// Publishes in 200 rounds, some of which publish several events concurrently. Returns the recorded
/// steps.
async fn record() -> Vec<Step> {
    let disk = Disk::default();
    let log = Log::builder().open_backend(disk.clone()).await.unwrap();
    let topics = open_topics(&log).await;
    let mut readers = Vec::new();
    for (index, topic) in topics.iter().enumerate() {
        let (mut reader, disk) = (topic.subscribe(Start::Now), disk.clone());
        readers.push(tokio::spawn(async move {
            while let Some(update) = reader.next().await {
                disk.observe(index, update.id(), *update);
            }
        }));
    }
    for round in 0..200 {
        let index = fastrand::usize(..topics.len());
        let together = if round % 4 == 0 { 6 } else { 1 };
        let publish = |value: u64| {
            let (topic, disk) = (topics[index].clone(), disk.clone());
            tokio::spawn(async move {
                let id = topic.publish(&value).await.unwrap();
                disk.observe(index, &id, value);
            })
        };
        let publishing: Vec<_> = (0..together).map(|n| publish(round * 10 + n)).collect();
        for publishing in publishing {
            publishing.await.unwrap();
        }
    }
    for topic in &topics {
        topic.finish().await.unwrap();
    }
    for reader in readers {
        reader.await.unwrap();
    }
    let mut state = disk.state();
    std::mem::take(&mut state.trace)
}

/// Opens a log from the surviving bytes and checks that it contains the newest observed event, and
/// that all of its events are correct. Returns the operations of the recovery.
async fn check(content: Vec<u8>, observed: &[BTreeMap<u64, (EventId, u64)>]) -> Vec<Step> {
    let disk = Disk::holding(content);
    let log = Log::builder().open_backend(disk.clone()).await.unwrap();
    let recovery = disk.state().trace.clone();
    for (topic, observed) in open_topics(&log).await.iter().zip(observed) {
        let stored = read_all(topic).await;
        let number = |id: &EventId| parts(&id.to_string()).1;
        let numbers: Vec<u64> = stored.iter().map(|(id, _)| number(id)).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]));
        let Some((newest, _)) = observed.last_key_value() else {
            continue;
        };
        assert!(
            numbers.last().is_some_and(|last| last >= newest),
            "{numbers:?} lack {newest}"
        );
        assert!(numbers[0] == 1 || numbers.len() >= KEEP, "{numbers:?}");
        for (id, value) in stored {
            if let Some(known) = observed.get(&number(&id)) {
                assert_eq!((id, value), *known);
            }
        }
    }
    recovery
}

#[tokio::test]
async fn observed_events_survive_a_power_loss() {
    let start = Instant::now();
    let trace = record().await;
    let step = usize::try_from(setting("POWER_STEP", 3)).unwrap();
    let mut observed = vec![BTreeMap::new(); TOPICS.len()];
    let mut cutter = Cutter::new(&trace, Vec::new());
    let mut cuts = 0;
    for (at, happened) in trace.iter().enumerate() {
        // The first steps create the file.
        if at % step == 0 || at < FIRST {
            for cut in CUTS {
                let content = cutter.cut(at, cut);
                let recovery = check(content.clone(), &observed).await;
                // Simulate a second power loss during the recovery.
                let at = fastrand::usize(..=recovery.len());
                let cut = CUTS[fastrand::usize(..CUTS.len())];
                let content = Cutter::new(&recovery, content).cut(at, cut);
                check(content, &observed).await;
                cuts += 2;
            }
        }
        if let Step::Observed { topic, id, value } = happened {
            let number = parts(&id.to_string()).1;
            observed[*topic].insert(number, (id.clone(), *value));
        }
    }
    assert!(observed.iter().all(|events| events.len() > 100));
    let _ = writeln!(
        io::stderr(),
        "{} steps, {cuts} power losses, {:?}",
        trace.len(),
        start.elapsed()
    );
}
