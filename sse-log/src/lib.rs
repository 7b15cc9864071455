//! Stores the topics of [`sse_runtime`] in a file, so that they survive a restart.
//!
//! By default, a [`Topic`](sse_runtime::Topic) is held in memory. When the process restarts, the
//! topic's events are lost, and a client that reconnects receives a gap. A topic stored in a
//! [`Log`] continues where it left off, and the client receives exactly the events that it missed.
//!
//! ```
//! use sse_log::Log;
//! use sse_runtime::Topic;
//!
//! #[derive(Clone, serde::Serialize, serde::Deserialize)]
//! struct Price { symbol: String, cents: u64 }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # std::env::set_current_dir(&directory)?;
//! let log = Log::open("ticker.redb").await?;
//! let prices: Topic<Price> = Topic::open(&log, "prices").await?;
//!
//! // The event is on the disk before any client receives it.
//! prices.publish(&Price { symbol: "ACME".into(), cents: 1250 }).await?;
//! # Ok(()) }
//! ```
//!
//! Endpoints use the topic like any other topic. The values must implement
//! [`Serialize`](https://docs.rs/serde/latest/serde/trait.Serialize.html) and
//! [`Deserialize`](https://docs.rs/serde/latest/serde/trait.Deserialize.html).
//!
//! # Guarantees
//!
//! - An event is on the disk (`fsync`) before [`publish`](sse_runtime::Topic::publish) returns and
//!   before any client receives it. It survives `kill -9` and a power loss.
//! - Events that are published concurrently are written together, so that one sync stores many of
//!   them.
//! - A topic is read from the file only when it is opened. Clients are served from memory.
//! - An event that is published again with [the same key](sse_runtime::Topic::publish_with_key) is
//!   stored only once, provided that the topic still keeps the first copy.
//!
//! # Limits
//!
//! Only one process at a time can have the file open. If the next deployment starts before the
//! previous one has stopped, [`Log::open`] waits for up to
//! [`lock_timeout`](LogBuilder::lock_timeout).
//!
//! A topic keeps the events within its [limits](sse_runtime::topic::TopicBuilder), plus the event
//! before them. A client that has just read that event can therefore still resume. Older events are
//! removed whenever an event is published. The newest event and the end of a finished topic are kept
//! for as long as the topic exists.
//!
//! The log looks once a minute for topics to remove. A topic that is not open is removed once its
//! newest event or its end is older than the
//! [`keep_for`](sse_runtime::topic::TopicBuilder::keep_for) with which it was published. A topic to
//! which no event has ever been published is removed an hour after its creation, provided that it is
//! not open. Any other topic without `keep_for` is never removed, so set `keep_for` if the names of a
//! [`Hub`](sse_runtime::Hub)'s topics are never reused. If a removed topic is opened again, it is
//! empty, and a client that resumes receives a gap with the reason `other_epoch`.
//!
//! The space of removed events is reused for new events. If nothing is published for 30 seconds and
//! most of the file is unused, the unused space is returned to the file system.
//!
//! [`Log::open`] reads the whole file and verifies its checksums.
//!
//! # Errors
//!
//! If the disk is full, [`publish`](sse_runtime::Topic::publish) returns
//! [`Unavailable`](sse_runtime::topic::PublishError::Unavailable), and the event is not stored. The
//! log checks at intervals of up to 10 seconds whether the disk has free space again.
//!
//! If the disk fails, the most recent events may or may not be on the disk. Publishing them returns
//! [`Unknown`](sse_runtime::topic::PublishError::Unknown), and the log stores no more events until
//! the process is restarted. Open streams continue. Call [`Log::is_healthy`] in your readiness
//! probe, so that the load balancer sends new clients to another process. Restart a process whose
//! disk has failed. A process whose disk is full recovers on its own.
//!
//! # Backups
//!
//! Copy the file only while the log is closed. A copy of an open file may be damaged. If an old copy
//! is restored, clients that have received later events get a gap with the reason `rolled_back`. Use
//! a local file system, because `fsync` and locks may not work on a network file system.

mod append;
mod builder;
mod engine;
mod error;
mod expire;
mod log;
mod open;
mod read;
mod request;
mod shared;
mod storage;
mod tables;
mod writer;

pub use builder::LogBuilder;
pub use error::LogError;
pub use log::Log;
