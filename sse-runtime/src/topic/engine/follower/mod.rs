//! [`Follower`]: keeps a topic's ring equal to the newest part of an engine's log.
//!
//! ```text
//!  Repairing <--------------------------------- Live
//!      |        the feed has skipped a record     ^
//!      |        the engine's tail differs         |
//!      +------------------------------------------+
//!          the log has been read to its end
//! ```
//!
//! | state | a record from the feed |
//! | --- | --- |
//! | `Repairing` | is buffered and applied after the log has been read, unless it was received before the last read began |
//! | `Repairing`, while the repair waits before it reads on behalf of a reader | is handled as in the state `Live` |
//! | `Live` | is inserted into the ring if it follows the ring's newest record, is ignored if the ring already contains it, and otherwise starts a repair |
//!
//! A topic that is being opened is `Repairing` and has no epoch yet. Because the feed is started
//! before the log is read, no record is missed in between.
//!
//! A repair compares marks. If the engine has lost events that the ring contains, the repair finds
//! the newest event that the ring and the log have in common, and removes all later events from the
//! ring. Readers that have read any of the removed events receive a gap.

mod apply;
mod publish;
mod repair;

use std::{
    any::{Any, type_name},
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::AtomicBool},
};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use self::apply::marks_differ;
use super::{
    End, Epoch, Keep, Key, Node, Place, Stored, Tail, Unreachable,
    node::{Follow, Inner},
};
use crate::{
    generator::run_failure::Failure,
    topic::{OpenError, ring::Ring},
};

/// Converts values to and from JSON.
pub(crate) struct Codec<T> {
    encode: fn(&T) -> serde_json::Result<Vec<u8>>,
    decode: fn(&[u8]) -> serde_json::Result<T>,
}

impl<T: Serialize + DeserializeOwned> Codec<T> {
    pub(crate) fn new() -> Self {
        Self {
            encode: serde_json::to_vec,
            decode: |json| serde_json::from_slice(json),
        }
    }
}

/// The back end of a topic stored by an engine.
pub(crate) struct Follower<T> {
    node: Arc<Inner>,
    name: Arc<str>,
    ring: Arc<Ring<T>>,
    codec: Codec<T>,
    keep: Keep,
    state: Mutex<State>,
    is_open: watch::Sender<bool>,
    is_watched: AtomicBool,
    /// The number of the last completed repair.
    repaired: watch::Sender<u64>,
    /// Notified when another process ends the topic.
    ended_elsewhere: Notify,
    /// The bodies and values of the events that are being published, so that these values need not
    /// be decoded from the log. Two events may be published with the same key at the same time, so
    /// a value is used only if its body equals the stored one.
    publishing: Mutex<HashMap<Key, (Bytes, T)>>,
    this: Weak<Self>,
}

struct State {
    /// The place of the newest record applied to the ring, or `None` until the first page of the
    /// log has been read.
    newest: Option<Tail>,
    /// The place of the record that ended the topic, if any.
    end: Option<Place>,
    /// Whether the topic's run must stop, because another process, or another hub of this process,
    /// has ended the topic.
    is_run_over: bool,
    /// Whether this process is finishing the topic.
    is_finishing: bool,
    /// How this process is ending the topic, with the details that the log does not contain.
    failing: Option<(End, Arc<Failure>)>,
    /// The records received since the last read began, or `None` if the state is `Live`.
    repairing: Option<Buffer>,
    /// Whether the repair is waiting before it begins its next read. Meanwhile, records are applied
    /// as in the state `Live`. If they were buffered, clients could delay a topic's events by
    /// sending made-up ids.
    is_waiting: bool,
    /// Whether the feed may have skipped a record since the last read began.
    is_suspect: bool,
    /// The number of times that a reader has asked for a repair.
    asked: u64,
    /// The time of the last read on behalf of a reader. It may be in the future.
    read_for_reader: Option<Instant>,
    /// The error of the last read, if it failed.
    error: Option<Arc<Unreachable>>,
    /// The engine's tail at the last check. By the next check, the feed should have delivered all
    /// records up to it.
    expected: Option<Tail>,
}

#[derive(Default)]
struct Buffer {
    records: VecDeque<Received>,
    bytes: usize,
}

struct Received {
    epoch: Epoch,
    previous: Place,
    stored: Stored,
    source: Source,
}

/// The source of a record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Feed,
    /// The engine's confirmation of an event published by this process. If the event does not
    /// follow the ring's newest record, other records precede it, and the feed delivers all of
    /// them.
    Confirmation,
}

impl<T: Send + Sync + 'static> Follower<T> {
    /// Starts to open a topic. If the topic is already open in this process, returns the existing
    /// follower.
    pub(crate) fn start(
        node: &Node,
        name: &str,
        ring: Ring<T>,
        codec: Codec<T>,
        keep: Keep,
    ) -> Result<Arc<Self>, OpenError> {
        if !is_valid_name(name) {
            return Err(OpenError::InvalidName);
        }
        let inner = node.inner();
        let name: Arc<str> = name.into();
        let follower = inner.follower_or(&name, || {
            let follower = Arc::new_cyclic(|this| Self {
                node: Arc::clone(inner),
                name: Arc::clone(&name),
                ring: Arc::new(ring),
                codec,
                keep,
                state: Mutex::new(State {
                    newest: None,
                    end: None,
                    is_run_over: false,
                    is_finishing: false,
                    failing: None,
                    repairing: Some(Buffer::default()),
                    is_waiting: false,
                    is_suspect: false,
                    asked: 0,
                    read_for_reader: None,
                    error: None,
                    expected: None,
                }),
                is_open: watch::Sender::new(false),
                is_watched: AtomicBool::new(false),
                repaired: watch::Sender::new(0),
                ended_elsewhere: Notify::new(),
                publishing: Mutex::default(),
                this: Weak::clone(this),
            });
            follower.start_repair();
            follower
        });
        let open = follower.value_type();
        let follower = follower.into_any().downcast::<Self>();
        follower.map_err(|_| OpenError::OtherType { open })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a repair on behalf of a reader. Returns the repair's number. The ring's `checked`
    /// number reaches this number once the repair has been completed.
    fn ask(&self) -> u64 {
        let mut state = self.state();
        state.asked += 1;
        let ticket = state.asked;
        self.suspect_with(&mut state);
        ticket
    }

    fn suspect_with(&self, state: &mut State) {
        state.is_suspect = true;
        if state.repairing.is_none() {
            state.repairing = Some(Buffer::default());
            self.start_repair();
        }
    }

    fn publishing(&self) -> MutexGuard<'_, HashMap<Key, (Bytes, T)>> {
        self.publishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn is_valid_name(name: &str) -> bool {
    /// The maximum length of a name, in bytes.
    const LONGEST: usize = 1024;
    name.len() <= LONGEST && !name.contains(['\0', '\r', '\n'])
}

impl<T: Send + Sync + 'static> Follow for Follower<T> {
    fn receive(&self, epoch: Epoch, previous: Place, stored: Stored) {
        self.take(Received {
            epoch,
            previous,
            stored,
            source: Source::Feed,
        });
    }

    fn suspect(&self) {
        self.suspect_with(&mut self.state());
    }

    fn check(&self, before: Option<Tail>, tail: Tail, is_feed_intact: bool) {
        let mut state = self.state();
        let Some(newest) = state.newest else { return };
        let has_lost =
            |known: Tail| known.epoch == tail.epoch && known.newest.number > tail.newest.number;
        let is_other = newest.epoch != tail.epoch
            || before.is_some_and(has_lost)
            || newest.newest.number == tail.newest.number
                && marks_differ(newest.newest, tail.newest);
        let is_behind = |expected: Tail| newest.newest.number < expected.newest.number;
        let has_skipped = match is_feed_intact {
            true => state.expected.is_some_and(is_behind),
            // A read in progress may have taken its snapshot of the log before the connection was
            // restored.
            false => newest != tail || state.repairing.is_some(),
        };
        state.expected = Some(tail);
        if is_other || has_skipped {
            state.expected = None;
            self.suspect_with(&mut state);
        }
    }

    fn tail(&self) -> Option<Tail> {
        self.state().newest
    }

    fn value_type(&self) -> &'static str {
        type_name::<T>()
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl<T> Drop for Follower<T> {
    fn drop(&mut self) {
        self.node.remove(&self.name);
    }
}

impl<T> fmt::Debug for Follower<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("name", &self.name)
            .field("ring", &self.ring)
            .finish_non_exhaustive()
    }
}
