//! [`Store`]: determines where a test's topics are stored.
//!
//! A test that takes a `Store` runs twice, with topics in memory and with topics in a log:
//!
//! ```ignore
//! #[test_case(Store::Memory; "memory")]
//! #[test_case(Store::log(); "log")]
//! #[tokio::test]
//! async fn new_reader_receives_the_newest_event(store: Store) {
//!     let topic = store.topic(Topic::builder().keep(4)).await;
//! ```
//!
//! A test without a `Store` uses only topics in memory. Its comments give the reason, unless the test
//! pauses the clock: while a log writes to the disk, all tasks are waiting, so a paused clock would
//! advance to the next timeout.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::future::join_all;
use serde::{Serialize, de::DeserializeOwned};
use sse_log::Log;
use sse_runtime::{
    EventId, Hub, Topic,
    topic::{HubBuilder, TopicBuilder},
};
use tempfile::TempDir;
use tokio::{sync::OnceCell, task::unconstrained};

/// The place where a test's topics are stored.
#[derive(Clone, Debug)]
pub enum Store {
    Memory,
    Log(Arc<LogFile>),
}

/// A log in a temporary directory. The log is opened when the first topic or hub is created.
#[derive(Debug)]
pub struct LogFile {
    directory: TempDir,
    log: OnceCell<Log>,
    /// The number of topics and hubs created so far, which makes their names unique.
    names: AtomicUsize,
}

impl LogFile {
    async fn log(&self) -> &Log {
        let path = self.directory.path().join("log");
        let open = async || Log::open(path).await.expect("a new log");
        self.log.get_or_init(open).await
    }

    fn new_name(&self) -> String {
        self.names.fetch_add(1, Ordering::Relaxed).to_string()
    }
}

impl Store {
    pub fn log() -> Self {
        Self::Log(Arc::new(LogFile {
            directory: tempfile::tempdir().expect("a temporary directory"),
            log: OnceCell::new(),
            names: AtomicUsize::new(0),
        }))
    }

    /// Creates an empty topic.
    pub async fn topic<T>(&self, builder: TopicBuilder<T>) -> Topic<T>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        match self {
            Self::Memory => builder.build(),
            Self::Log(file) => {
                let topic = builder.open(file.log().await, &file.new_name()).await;
                topic.expect("a new topic")
            }
        }
    }

    /// Creates a hub without topics.
    pub async fn hub<T>(&self, builder: HubBuilder<T>) -> Hub<T>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        match self {
            Self::Memory => builder.build(),
            Self::Log(file) => {
                let builder = builder.engine(file.log().await, &file.new_name());
                builder.build()
            }
        }
    }

    /// Returns the number in an event's id. Panics if the id is not in the form used by the store:
    /// `epoch-number` in memory and `epoch-number.mark` in a log.
    pub fn number(&self, id: &str) -> u64 {
        let (_, number) = id.rsplit_once('-').expect("an epoch");
        let number = match (self, number.split_once('.')) {
            // The position before the first event has no mark.
            (Self::Log(_), None) if number == "0" => number,
            (Self::Log(_), marked) => marked.expect("a mark").0,
            (Self::Memory, _) => number,
        };
        number.parse().expect("a number")
    }
}

/// Publishes the values in order, without waiting for one to be stored before publishing the next, so
/// that a log can store several in one commit. Returns their ids.
pub async fn publish_all<T>(topic: &Topic<T>, values: impl IntoIterator<Item = T>) -> Vec<EventId>
where
    T: Clone + Send + Sync + 'static,
{
    let publishing = values.into_iter().map(async |value| {
        let published = topic.publish(&value).await;
        published.expect("an open topic")
    });
    // `unconstrained` disables tokio's cooperative budget. Each future therefore passes its event to
    // the log when the future is first polled, in this order.
    unconstrained(join_all(publishing)).await
}
