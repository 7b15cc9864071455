//! A simulated engine. The test controls the records that the engine stores and the records that
//! its feed delivers.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sse_runtime::{
    EventId,
    topic::{
        Key,
        engine::{
            AppendError, Appended, BoxFuture, Engine, Epoch, Feed, Keep, Kind, Page, Place, Record,
            RunOwner, Stored, Tail, Unreachable,
        },
    },
};
use tokio::task::yield_now;

use super::checker::name;

/// The maximum number of records in a page. It is small, so that most logs need several reads.
const PAGE: usize = 3;

/// Identifies a record across all epochs and faults.
pub(crate) type Identity = (Epoch, Place);

/// The engine's only topic.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) epoch: Epoch,
    /// The stored records, oldest first. Their numbers are consecutive.
    pub(crate) records: VecDeque<Stored>,
    /// The place before the oldest record.
    pub(crate) before: Place,
}

impl Log {
    fn new() -> Self {
        Self {
            epoch: Epoch::random(),
            records: VecDeque::new(),
            before: Place::START,
        }
    }

    pub(crate) fn newest(&self) -> Place {
        self.records.back().map_or(self.before, Stored::place)
    }

    pub(crate) fn tail(&self) -> Tail {
        Tail {
            epoch: self.epoch,
            newest: self.newest(),
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        let newest = self.records.back();
        newest.is_some_and(|stored| stored.record.kind == Kind::End)
    }
}

/// The outcome of the next append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Stored,
    /// The record is not stored, and the publisher cannot tell.
    LostBefore,
    /// The record is stored, but the confirmation is lost.
    LostAfter,
}

pub(crate) struct State {
    pub(crate) log: Log,
    pub(crate) outcome: Outcome,
    /// The number of times that a read yields to other tasks before and after it takes its snapshot
    /// of the log.
    pub(crate) delays: (u8, u8),
    /// Every record that was ever stored: its identity, that of the record before it, and its body.
    pub(crate) ever: Vec<(Identity, Identity, Record)>,
    lines: Vec<Line>,
}

impl State {
    /// Appends a record to the log and passes it to the feeds.
    fn store(&mut self, record: Record) -> Identity {
        let log = &mut self.log;
        let (epoch, previous) = (log.epoch, log.newest());
        let stored = Stored {
            number: previous.number + 1,
            mark: record.key.mark(self.ever.len() as u64),
            record: record.clone(),
            age: Duration::ZERO,
        };
        let identity = (epoch, stored.place());
        log.records.push_back(stored.clone());
        self.ever.push((identity, (epoch, previous), record));
        for line in &mut self.lines {
            if line.is_watched && !line.is_cut && !line.is_down {
                line.undelivered
                    .push_back((epoch, previous, stored.clone()));
            }
        }
        identity
    }
}

/// A node's connection to the server.
#[derive(Default)]
struct Line {
    feed: Option<Feed>,
    is_watched: bool,
    is_down: bool,
    /// Whether the feed is cut, although the engine can be reached.
    is_cut: bool,
    undelivered: VecDeque<(Epoch, Place, Stored)>,
    reads: usize,
}

/// The server, to which all nodes are connected.
#[derive(Clone)]
pub(crate) struct Server(Arc<Mutex<State>>);

/// A node's engine.
pub(crate) struct Simulated {
    server: Server,
    node: usize,
}

impl Server {
    pub(crate) fn new(nodes: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            log: Log::new(),
            outcome: Outcome::Stored,
            delays: (0, 0),
            ever: Vec::new(),
            lines: (0..nodes).map(|_| Line::default()).collect(),
        })))
    }

    pub(crate) fn engine(&self, node: usize) -> Arc<dyn Engine> {
        Arc::new(Simulated {
            server: self.clone(),
            node,
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_down(&self, node: usize, is_down: bool) {
        self.state().lines[node].is_down = is_down;
    }

    /// Cuts a node's feed, or restores it.
    pub(crate) fn set_cut(&self, node: usize, is_cut: bool) {
        let mut state = self.state();
        let line = &mut state.lines[node];
        line.is_cut = is_cut;
        if is_cut {
            line.undelivered.clear();
        }
    }

    pub(crate) fn reconnected(&self, node: usize) {
        let feed = self.state().lines[node].feed.clone();
        feed.unwrap().reconnected();
    }

    pub(crate) fn reads(&self, node: usize) -> usize {
        self.state().lines[node].reads
    }

    /// Delivers the oldest undelivered record. Returns whether there was one.
    pub(crate) fn deliver(&self, node: usize) -> bool {
        let mut state = self.state();
        let line = &mut state.lines[node];
        let (Some((epoch, previous, stored)), Some(feed)) =
            (line.undelivered.pop_front(), line.feed.clone())
        else {
            return false;
        };
        drop(state);
        feed.record(TOPIC, epoch, previous, stored);
        true
    }

    /// Lets `change` modify the undelivered records.
    pub(crate) fn tamper(
        &self,
        node: usize,
        change: impl FnOnce(&mut VecDeque<(Epoch, Place, Stored)>),
    ) {
        change(&mut self.state().lines[node].undelivered);
    }

    /// Appends an event from outside of the nodes. Returns its id.
    pub(crate) fn append(&self, value: u64) -> EventId {
        self.append_with(Key::random(), value)
    }

    pub(crate) fn append_with(&self, key: Key, value: u64) -> EventId {
        let frame = format!("data: {value}\n\n");
        let len = u32::try_from(frame.len()).unwrap();
        // The format of `engine::Body`.
        let body = [&[1], &len.to_be_bytes()[..], frame.as_bytes()].concat();
        let record = Record {
            key,
            kind: Kind::Event,
            body: body.into(),
        };
        let mut state = self.state();
        let (epoch, place) = state.store(record);
        EventId::new(name(epoch, place)).unwrap()
    }

    /// Loses the newest records.
    pub(crate) fn lose(&self, count: usize) {
        let mut state = self.state();
        for _ in 0..count {
            state.log.records.pop_back();
        }
    }

    /// Trims the oldest records, but never the newest record.
    pub(crate) fn trim(&self, count: usize) {
        let mut state = self.state();
        for _ in 0..count {
            if state.log.records.len() > 1 {
                let removed = state.log.records.pop_front().unwrap();
                state.log.before = removed.place();
            }
        }
    }

    /// Loses the topic. The new, empty topic has a new epoch.
    pub(crate) fn forget(&self) {
        self.state().log = Log::new();
    }
}

/// The name of the only topic.
pub(crate) const TOPIC: &str = "topic";

fn unreachable() -> Unreachable {
    Unreachable("simulated".into())
}

impl Simulated {
    fn reach(&self) -> Result<MutexGuard<'_, State>, Unreachable> {
        let state = self.server.state();
        match state.lines[self.node].is_down {
            true => Err(unreachable()),
            false => Ok(state),
        }
    }
}

impl Engine for Simulated {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn start(&self, feed: Feed) {
        self.server.state().lines[self.node].feed = Some(feed);
    }

    fn watch<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), Unreachable>> {
        Box::pin(async {
            self.reach()?.lines[self.node].is_watched = true;
            Ok(())
        })
    }

    fn unwatch(&self, _: &str) {
        self.server.state().lines[self.node].is_watched = false;
    }

    fn append<'a>(
        &'a self,
        _: &'a str,
        record: Record,
        _: Keep,
        _: Option<RunOwner>,
    ) -> BoxFuture<'a, Result<Appended, AppendError>> {
        Box::pin(async move {
            let state = self.reach();
            let mut state = state.map_err(|error| AppendError::Unavailable(Box::new(error)))?;
            let state = &mut *state;
            let outcome = std::mem::replace(&mut state.outcome, Outcome::Stored);
            let lost = || AppendError::Unknown("simulated".into());
            if outcome == Outcome::LostBefore {
                return Err(lost());
            }
            let log = &mut state.log;
            let epoch = log.epoch;
            let stored = log
                .records
                .iter()
                .position(|stored| stored.record.key == record.key);
            if let Some(index) = stored {
                let previous = match index.checked_sub(1) {
                    Some(previous) => log.records[previous].place(),
                    None => log.before,
                };
                let Stored { number, mark, .. } = log.records[index];
                return Ok(Appended {
                    epoch,
                    previous,
                    number,
                    mark,
                    is_new: false,
                });
            }
            if log.has_ended() {
                return Err(AppendError::Ended);
            }
            let previous = log.newest();
            let (_, place) = state.store(record);
            if outcome == Outcome::LostAfter {
                return Err(lost());
            }
            Ok(Appended {
                epoch,
                previous,
                number: place.number,
                mark: place.mark.unwrap(),
                is_new: true,
            })
        })
    }

    fn tails<'a>(
        &'a self,
        topics: &'a [&'a str],
    ) -> BoxFuture<'a, Result<Vec<Option<Tail>>, Unreachable>> {
        Box::pin(async {
            let tail = Some(self.reach()?.log.tail());
            Ok(vec![tail; topics.len()])
        })
    }

    fn read<'a>(
        &'a self,
        _: &'a str,
        after: u64,
        _: usize,
    ) -> BoxFuture<'a, Result<Page, Unreachable>> {
        Box::pin(async move {
            let (first, second) = self.server.state().delays;
            for _ in 0..first {
                yield_now().await;
            }
            let page = {
                let mut state = self.reach()?;
                state.lines[self.node].reads += 1;
                let log = &state.log;
                let read = log.records.iter().filter(|stored| stored.number <= after);
                let read = read.count();
                let before = match read.checked_sub(1) {
                    Some(last) => log.records[last].place(),
                    None => log.before,
                };
                Page {
                    tail: log.tail(),
                    before,
                    records: log.records.range(read..).take(PAGE).cloned().collect(),
                }
            };
            for _ in 0..second {
                yield_now().await;
            }
            Ok(page)
        })
    }
}

impl fmt::Debug for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulated").finish_non_exhaustive()
    }
}
