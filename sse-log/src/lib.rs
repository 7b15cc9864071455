//! Stores the topics of [`sse_runtime`] in a file, so that they survive a restart.
//!
//! By default, a [`Topic`](sse_runtime::Topic) is held in memory. After a restart, its events are
//! gone, and a client that reconnects receives a gap. A topic that a [`Log`] stores continues where
//! it stopped, and the client receives exactly the events that it has missed.
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
//! Endpoints use the topic like any other. The values must implement
//! [`Serialize`](https://docs.rs/serde/latest/serde/trait.Serialize.html) and
//! [`Deserialize`](https://docs.rs/serde/latest/serde/trait.Deserialize.html).
//!
//! # Guarantees
//!
//! - An event is on the disk (`fsync`) before [`publish`](sse_runtime::Topic::publish) returns and
//!   before any client receives it. It survives `kill -9` and a power loss.
//! - Events that are published at the same time are written together, so the number of events per
//!   second is not limited by the disk's latency.
//! - Reading a topic does not access the file. Clients are served from memory.
//! - An event that is published again with
//!   [the same key](sse_runtime::Topic::publish_with_key) is stored once, as long as it is kept.
//!
//! # Limits
//!
//! Only one process can have the file open. If the next deployment starts before the previous one
//! has stopped, [`Log::open`] waits, see [`LogBuilder::lock_timeout`].
//!
//! A topic keeps the events that its [limits](sse_runtime::topic::TopicBuilder) promise, and one
//! more, so that a client that has read it can resume. Older events are removed when an event is
//! published. The newest event and the end of a finished topic are always kept. Topics are not
//! removed.
//!
//! Space that removed events leave in the file is used for new events. If nothing is published for
//! 30 seconds and most of the file is unused, it is returned to the file system.
//!
//! [`Log::open`] reads the whole file and verifies its checksums.
//!
//! # Errors
//!
//! If the disk is full, [`publish`](sse_runtime::Topic::publish) returns
//! [`Unavailable`](sse_runtime::topic::PublishError::Unavailable), and the event is not stored. The
//! log tries at intervals of up to 10 seconds whether there is room again.
//!
//! If the disk fails, it is uncertain which of the last events are on the disk. They are answered
//! with [`Unknown`](sse_runtime::topic::PublishError::Unknown), and the log stores no more events
//! until the process restarts. Streams that are open continue. Use [`Log::is_healthy`] in the
//! readiness probe, so that the process is restarted.

mod append;
mod builder;
mod engine;
mod error;
mod log;
mod open;
mod read;
mod shared;
mod storage;
mod tables;
mod writer;

pub use builder::LogBuilder;
pub use error::LogError;
pub use log::Log;
