//! [`Engine`]: stores topics on disk or outside the process.
//!
//! An engine is a log with a live feed. The [`Node`] follows the feed and keeps the newest events
//! of each open topic in a ring, which all of the topic's readers read. The node reads the log only
//! if a topic is opened or the feed has skipped a record, so the load on the engine does not depend
//! on the number of clients.
//!
//! ```text
//! publisher --append--> engine --live feed--> node --> ring of the topic --> readers
//!                         |                     ^
//!                         +------- read --------+    at open, and to repair
//! ```
//!
//! This module is hidden from the documentation and may still change.

mod backoff;
mod feed;
mod follower;
mod lost_runs;
mod members;
mod node;
mod record;
mod run_lease;

use std::{error::Error, fmt, future::Future, pin::Pin, time::Duration};

pub use crate::{
    event::position::{Epoch, Mark},
    topic::Key,
};
pub use backoff::Backoff;
pub use feed::Feed;
pub(crate) use follower::{Codec, Follower, is_valid_name};
pub use members::{EventTemplate, MemberList, Members, MembersUpdate, NodeLease, Sweep};
pub use node::Node;
pub use record::{Body, Kind, Place, Record, Stored};
pub(crate) use record::{BodyRef, End};
pub use run_lease::{Claim, Claimed, Renewed, RunLeases, RunOwner};

/// A boxed future, as returned by the methods of an [`Engine`].
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A store for topics that outlive the process or are shared by several machines.
///
/// An engine orders the records of each topic and numbers them in this order, starting with 1. It
/// never changes a record. If it loses records, it may give their numbers to other records, whose
/// [marks](Stored::mark) differ. If the engine loses an entire topic, the topic gets a new
/// [`Epoch`].
pub trait Engine: fmt::Debug + Send + Sync + 'static {
    /// Passes the feed to the engine. The node calls this method once, before any other method.
    ///
    /// The engine passes each record of a watched topic to the feed, in order. The engine may lose,
    /// repeat, delay or reorder records on the way, because the node repairs its copy of the topic.
    fn start(&self, feed: Feed);

    /// Returns the engine's name, which is the value of the metrics' `engine` label.
    fn name(&self) -> &'static str;

    /// Returns the leases that determine which process executes a run, or `None` if only one process
    /// can use the engine at a time.
    fn run_leases(&self) -> Option<&dyn RunLeases> {
        None
    }

    /// Returns the store for the members of presences, or `None` if presences are not supported.
    fn members(&self) -> Option<&dyn Members> {
        None
    }

    /// Starts to watch a topic. Once the future has completed, the engine passes every record
    /// appended afterwards to the feed.
    ///
    /// # Errors
    ///
    /// Returns an error if the engine cannot be reached.
    fn watch<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<(), Unreachable>>;

    /// Stops watching a topic.
    fn unwatch(&self, topic: &str);

    /// Appends a record and returns its position. If the topic already contains a record with the
    /// same key, returns the position of that record instead.
    ///
    /// `owner` is the owner of the run that appends the record, if any. If the topic's run has
    /// another owner, the engine rejects the record.
    ///
    /// The engine removes the oldest records that exceed `keep`, except the newest of these
    /// records. A client that has just read that record can therefore still resume.
    ///
    /// # Errors
    ///
    /// Returns an error if the record was not stored, or if the engine did not confirm that it was
    /// stored.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the record may or may not be stored.
    fn append<'a>(
        &'a self,
        topic: &'a str,
        record: Record,
        keep: Keep,
        owner: Option<RunOwner>,
    ) -> BoxFuture<'a, Result<Appended, AppendError>>;

    /// Returns the newest position of each topic, in the order of `topics`. The position is `None`
    /// if the topic does not exist. This method does not create topics.
    ///
    /// # Errors
    ///
    /// Returns an error if the engine cannot be reached.
    fn tails<'a>(
        &'a self,
        topics: &'a [&'a str],
    ) -> BoxFuture<'a, Result<Vec<Option<Tail>>, Unreachable>>;

    /// Reads the records after number `after`. The page contains about `bytes` bytes, but at least
    /// one record if there is any. If some of the records have been removed, the page starts with
    /// the oldest remaining record. If the topic does not exist, the engine creates it.
    ///
    /// # Errors
    ///
    /// Returns an error if the engine cannot be reached.
    fn read<'a>(
        &'a self,
        topic: &'a str,
        after: u64,
        bytes: usize,
    ) -> BoxFuture<'a, Result<Page, Unreachable>>;
}

/// The limits on the records that an engine keeps for a topic.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// The maximum number of events.
    pub events: usize,
    /// The maximum total size of the events' bodies, in bytes.
    pub bytes: usize,
    /// The maximum age of an event, if any.
    pub age: Option<Duration>,
}

impl Keep {
    /// Keeps all records.
    pub(crate) const ALL: Self = Self {
        events: usize::MAX,
        bytes: usize::MAX,
        age: None,
    };
}

/// The newest position in a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The topic's epoch.
    pub epoch: Epoch,
    /// The place of the newest record, or [`Place::START`] if there are no records.
    pub newest: Place,
}

/// Consecutive records read from the log.
#[derive(Clone, Debug)]
pub struct Page {
    /// The topic's epoch and newest place at the time of the read.
    pub tail: Tail,
    /// The place before the page's first record. The mark is `None` if the record at this place has
    /// been removed.
    pub before: Place,
    /// The records, oldest first.
    pub records: Vec<Stored>,
}

/// The position of an appended record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The topic's epoch.
    pub epoch: Epoch,
    /// The place of the record before this one.
    pub previous: Place,
    /// The record's number.
    pub number: u64,
    /// The record's mark.
    pub mark: Mark,
    /// Whether this call stored the record. `false` if a record with the same key was already stored.
    /// Its body may differ.
    pub is_new: bool,
}

/// The error returned if a record could not be appended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The record was not stored.
    #[error("the engine cannot store events at present: {0}")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// The record may or may not have been stored.
    #[error("the engine did not confirm that the event was stored: {0}")]
    Unknown(#[source] Box<dyn Error + Send + Sync>),
    /// Another producer has taken over the topic.
    #[error("another producer has taken over the topic")]
    Fenced,
    /// The topic has ended.
    #[error("the topic has ended")]
    Ended,
    /// The record is larger than the engine's maximum.
    #[error("the event is {len} bytes long, but the engine stores at most {max}")]
    TooLarge {
        /// The size of the record's body, in bytes.
        len: usize,
        /// The maximum size, in bytes.
        max: usize,
    },
}

/// The error returned if an engine cannot be reached.
#[derive(Debug, thiserror::Error)]
#[error("the engine cannot be reached: {0}")]
pub struct Unreachable(#[source] pub Box<dyn Error + Send + Sync>);
