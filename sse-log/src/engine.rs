//! [`LogEngine`]: implements [`Engine`] for a log.

use std::{
    error::Error,
    fmt,
    sync::{Arc, mpsc::Sender},
};

use redb::ReadTransaction;
use sse_runtime::topic::engine::{
    AppendError, Appended, BoxFuture, Engine, Feed, Keep, Page, Record, RunOwner, Tail, Unreachable,
};
use tokio::{
    sync::{Semaphore, oneshot},
    task::spawn_blocking,
};

use crate::{
    read,
    request::{Cause, Command, Request},
    shared::Shared,
};

pub(crate) struct LogEngine {
    shared: Arc<Shared>,
    /// The writer stops when this is dropped.
    commands: Sender<Command>,
    /// The bytes that may wait for the writer.
    room: Arc<Semaphore>,
}

/// The maximum size of the events that wait for the writer, in bytes. If the disk does not respond,
/// further publishers wait without an event in the queue, so they can be cancelled.
const QUEUE_BYTES: u32 = 16 * 1024 * 1024;

/// The number of bytes that an event occupies in the queue in addition to its body.
const OVERHEAD: usize = 256;

impl LogEngine {
    pub(crate) fn new(shared: Arc<Shared>, commands: Sender<Command>) -> Self {
        Self {
            shared,
            commands,
            room: Arc::new(Semaphore::new(QUEUE_BYTES as usize)),
        }
    }

    async fn create(&self, topic: &str) -> Result<(), Unreachable> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Create {
            topic: topic.into(),
            reply,
        };
        let stopped = || Unreachable(Box::new(writer_stopped()));
        let sent = self.commands.send(Command::Request(request));
        sent.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Calls `read` on a blocking thread. If it returns `None`, one of the topics does not exist.
    /// The topics are then created, and `read` is called again.
    async fn read_or_create<T, F>(&self, topics: &[&str], read: F) -> Result<T, Unreachable>
    where
        T: Send + 'static,
        F: Fn(&ReadTransaction, &[String]) -> Result<Option<T>, redb::Error>
            + Clone
            + Send
            + 'static,
    {
        let names: Arc<[String]> = topics.iter().map(|name| (*name).to_owned()).collect();
        loop {
            let (shared, read) = (Arc::clone(&self.shared), read.clone());
            let to_read = Arc::clone(&names);
            let reading = spawn_blocking(move || read(&shared.begin_read()?, &to_read));
            let result = reading.await.map_err(|error| Unreachable(error.into()))?;
            if let Some(result) = result.map_err(|error| Unreachable(error.into()))? {
                return Ok(result);
            }
            for topic in topics {
                self.create(topic).await?;
            }
        }
    }
}

fn writer_stopped() -> Cause {
    Cause::new("the log's thread has stopped")
}

impl Engine for LogEngine {
    fn name(&self) -> &'static str {
        "log"
    }

    fn start(&self, feed: Feed) {
        self.shared.set_feed(feed);
    }

    // The feed delivers the records of all topics, and the node ignores records of topics that are
    // not open. The open topics are tracked only to avoid removing them.

    fn watch<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<(), Unreachable>> {
        Box::pin(async move {
            let is_being_removed = {
                let mut watched = self.shared.watched();
                watched.topics.insert(topic.into());
                watched.removing.as_deref() == Some(topic)
            };
            if !is_being_removed {
                return Ok(());
            }
            // Wait until the current step of the removal has been completed. The writer removes no
            // more records of the topic. If the step has removed the topic itself, the read creates
            // it again.
            let (reply, answer) = oneshot::channel();
            // If the writer has stopped, the answer is an error.
            let _ = self.commands.send(Command::Settle { reply });
            answer
                .await
                .map_err(|_| Unreachable(Box::new(writer_stopped())))
        })
    }

    fn unwatch(&self, topic: &str) {
        self.shared.watched().topics.remove(topic);
    }

    fn append<'a>(
        &'a self,
        topic: &'a str,
        record: Record,
        keep: Keep,
        _: Option<RunOwner>,
    ) -> BoxFuture<'a, Result<Appended, AppendError>> {
        Box::pin(async move {
            let stopped = || -> Box<dyn Error + Send + Sync> { Box::new(writer_stopped()) };
            let size = record.body.len().saturating_add(OVERHEAD);
            let size = u32::try_from(size).unwrap_or(u32::MAX).min(QUEUE_BYTES);
            let room = Arc::clone(&self.room).acquire_many_owned(size).await;
            let room = room.map_err(|_| AppendError::Unavailable(stopped()))?;
            let (reply, answer) = oneshot::channel();
            let request = Request::Append {
                topic: topic.into(),
                record,
                keep,
                reply,
                _room: room,
            };
            let sent = self.commands.send(Command::Request(request));
            sent.map_err(|_| AppendError::Unavailable(stopped()))?;
            let answer = answer.await;
            answer.unwrap_or_else(|_| Err(AppendError::Unknown(stopped())))
        })
    }

    fn tails<'a>(
        &'a self,
        topics: &'a [&'a str],
    ) -> BoxFuture<'a, Result<Vec<Option<Tail>>, Unreachable>> {
        Box::pin(self.read_or_create(topics, |transaction, topics| {
            let tails = topics.iter().map(|topic| read::tail(transaction, topic));
            tails.collect::<Result<Vec<_>, _>>().map(Some)
        }))
    }

    fn read<'a>(
        &'a self,
        topic: &'a str,
        after: u64,
        bytes: usize,
    ) -> BoxFuture<'a, Result<Page, Unreachable>> {
        Box::pin(async move {
            let read = move |transaction: &ReadTransaction, topics: &[String]| match topics {
                [topic] => read::page(transaction, topic, after, bytes),
                _ => Ok(None),
            };
            self.read_or_create(&[topic], read).await
        })
    }
}

impl fmt::Debug for LogEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogEngine").finish_non_exhaustive()
    }
}
