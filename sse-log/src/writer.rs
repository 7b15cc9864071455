//! [`Writer`]: the thread that performs all appends.
//!
//! | state | an append |
//! | --- | --- |
//! | `Healthy` | is committed together with all other queued appends |
//! | `Full` | is rejected until a write succeeds |
//! | `Poisoned` | is rejected |

use std::{
    error::Error,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use redb::{CompactionError, Database};
use sse_runtime::topic::engine::{AppendError, Appended, Keep, Record, Stored, Unreachable};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{
    append::{self, Failed, Outcome},
    open::{PANICKED, catch_redb_panic, open_database},
    read,
    shared::Shared,
    storage::Fault,
    tables::{PROBE, damaged},
};

/// The size at which no more records are added to a batch, in bytes.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// The delays between attempts to write to a full disk: the first and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// The minimum size of an attempt to write to a full disk, in bytes.
const PROBE_BYTES: usize = 64 * 1024;

/// The size up to which a file is not compacted, in bytes.
const COMPACT_BYTES: u64 = 4 * 1024 * 1024;

/// A file is compacted if it is more than this many times as large as its records.
const COMPACT_FACTOR: u64 = 3;

/// A request to the writer.
pub(crate) enum Request {
    Append {
        topic: Arc<str>,
        record: Record,
        keep: Keep,
        reply: oneshot::Sender<Result<Appended, AppendError>>,
        /// The request's share of the queue.
        _room: OwnedSemaphorePermit,
    },
    /// Creates a topic if it does not exist.
    Create {
        topic: Arc<str>,
        reply: oneshot::Sender<Result<(), Unreachable>>,
    },
}

impl Request {
    pub(crate) fn topic(&self) -> &Arc<str> {
        match self {
            Self::Append { topic, .. } | Self::Create { topic, .. } => topic,
        }
    }

    /// Returns whether the caller has been cancelled.
    fn is_cancelled(&self) -> bool {
        match self {
            Self::Append { reply, .. } => reply.is_closed(),
            Self::Create { reply, .. } => reply.is_closed(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Append { record, .. } => record.body.len(),
            Self::Create { .. } => 0,
        }
    }

    /// Replies that nothing was stored.
    fn reject(self, cause: &Cause) {
        let cause = Box::new(cause.clone());
        // The caller may have been cancelled.
        match self {
            Self::Append { reply, .. } => {
                let _ = reply.send(Err(AppendError::Unavailable(cause)));
            }
            Self::Create { reply, .. } => {
                let _ = reply.send(Err(Unreachable(cause)));
            }
        }
    }

    /// Replies that the record may or may not be stored.
    fn doubt(self, cause: &Cause) {
        match self {
            Self::Append { reply, .. } => {
                let cause = Box::new(cause.clone());
                let _ = reply.send(Err(AppendError::Unknown(cause)));
            }
            create @ Self::Create { .. } => create.reject(cause),
        }
    }
}

/// The reason the log does not store events.
#[derive(Clone, Debug)]
pub(crate) struct Cause(Arc<str>);

impl Cause {
    pub(crate) fn new(message: impl Into<Arc<str>>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Cause {}

enum State {
    Healthy,
    Full {
        cause: Cause,
        /// The size of the next attempt to write, in bytes.
        bytes: usize,
        retry_at: Instant,
        delay: Duration,
    },
    Poisoned(Cause),
}

pub(crate) struct Writer {
    shared: Arc<Shared>,
    requests: Receiver<Request>,
    max_event_bytes: usize,
    compact_after: Duration,
    state: State,
    /// Whether records were appended since the file was last compacted.
    has_grown: bool,
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        requests: Receiver<Request>,
        max_event_bytes: usize,
        compact_after: Duration,
    ) -> Self {
        Self {
            shared,
            requests,
            max_event_bytes,
            compact_after,
            state: State::Healthy,
            has_grown: true,
        }
    }

    /// Serves requests until the engine is dropped, and then closes the file.
    pub(crate) fn run(mut self) {
        loop {
            let wait = match &self.state {
                State::Full { retry_at, .. } => {
                    Some(retry_at.saturating_duration_since(Instant::now()))
                }
                State::Healthy if self.has_grown => Some(self.compact_after),
                State::Healthy | State::Poisoned(_) => None,
            };
            let received = match wait {
                Some(wait) => self.requests.recv_timeout(wait),
                None => self.requests.recv().map_err(RecvTimeoutError::from),
            };
            match received {
                Ok(first) => {
                    let batch = self.take_queued(first);
                    if !batch.is_empty() {
                        self.serve(batch);
                    }
                }
                Err(RecvTimeoutError::Timeout) => match self.state {
                    State::Full { .. } => self.probe(),
                    State::Healthy | State::Poisoned(_) => self.compact(),
                },
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Some(database) = self.shared.database_mut().take()
            && let Err(error) = close(database)
        {
            // All acknowledged records are already on the disk.
            tracing::debug!(error, "failed to close a log");
        }
    }

    /// Takes the waiting requests, apart from those whose publishers have given up.
    fn take_queued(&self, first: Request) -> Vec<Request> {
        let mut bytes = 0;
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(request) = next {
            if !request.is_cancelled() {
                bytes += request.bytes();
                batch.push(request);
            }
            next = match bytes < BATCH_BYTES {
                true => self.requests.try_recv().ok(),
                false => None,
            };
        }
        batch
    }

    fn serve(&mut self, batch: Vec<Request>) {
        let cause = match &self.state {
            State::Healthy => return self.commit(batch),
            State::Full { cause, .. } | State::Poisoned(cause) => cause,
        };
        for request in batch {
            request.reject(cause);
        }
    }

    fn commit(&mut self, batch: Vec<Request>) {
        self.shared.storage.reset();
        let applied = {
            let database = self.shared.database();
            let Some(database) = &*database else {
                let closed = Cause::new("the log is closed");
                batch
                    .into_iter()
                    .for_each(|request| request.reject(&closed));
                return;
            };
            catch_unwind(AssertUnwindSafe(|| {
                append::apply(database, &batch, self.max_event_bytes)
            }))
        };
        let failed = match applied {
            Ok(Ok(outcomes)) => {
                self.has_grown = true;
                return self.answer(batch, outcomes);
            }
            Ok(Err(failed)) => failed,
            Err(_) => Failed {
                error: damaged(PANICKED),
                is_commit: true,
            },
        };
        self.fail(batch, &failed);
    }

    fn answer(&self, batch: Vec<Request>, outcomes: Vec<Outcome>) {
        // Readers receive the events first, so that a publisher that receives the id of its event
        // can read the event.
        for (request, outcome) in batch.iter().zip(&outcomes) {
            if let (Request::Append { topic, record, .. }, Outcome::Stored(Some(appended))) =
                (request, outcome)
            {
                self.feed(topic, record, *appended);
            }
        }
        for (request, outcome) in batch.into_iter().zip(outcomes) {
            match request {
                Request::Append { record, reply, .. } => {
                    let answer = match outcome {
                        Outcome::Stored(Some(appended)) | Outcome::Known(appended) => Ok(appended),
                        Outcome::Ended | Outcome::Stored(None) => Err(AppendError::Ended),
                        Outcome::TooLarge => Err(AppendError::TooLarge {
                            len: record.body.len(),
                            max: self.max_event_bytes,
                        }),
                    };
                    let _ = reply.send(answer);
                }
                Request::Create { reply, .. } => drop(reply.send(Ok(()))),
            }
        }
    }

    fn feed(&self, topic: &str, record: &Record, appended: Appended) {
        let Some(feed) = self.shared.feed() else {
            return;
        };
        let stored = Stored {
            number: appended.number,
            record: record.clone(),
            age: Duration::ZERO,
        };
        // The user's key function may panic, which must not stop this thread.
        let fed = catch_unwind(AssertUnwindSafe(|| {
            feed.record(topic, appended.epoch, appended.previous, stored);
        }));
        if fed.is_err() {
            tracing::error!(topic, "failed to deliver an event to a topic");
        }
    }

    /// Handles a batch that could not be committed.
    fn fail(&mut self, batch: Vec<Request>, failed: &Failed) {
        let storage = &self.shared.storage;
        // redb commits by writing its header, so nothing is committed if it has not tried to write
        // it.
        let is_uncertain = failed.is_commit && storage.is_header_written();
        let bytes = batch.iter().map(Request::bytes).sum();
        if storage.first_fault() != Some(Fault::Full) {
            let cause = self.poison(&failed.error);
            return answer_unstored(batch, &cause, is_uncertain);
        }
        let cause = self.set_full(&failed.error, bytes);
        let found = self.reopen().and_then(|()| self.find(&batch));
        match found {
            Ok(found) => {
                for (request, found) in batch.into_iter().zip(found) {
                    match (request, found) {
                        (Request::Append { topic, reply, .. }, Some(appended)) => {
                            if let Some(feed) = self.shared.feed() {
                                feed.skipped(&topic);
                            }
                            let _ = reply.send(Ok(appended));
                        }
                        (request, _) => request.reject(&cause),
                    }
                }
            }
            Err(error) => {
                self.cannot_reopen(&error);
                answer_unstored(batch, &cause, is_uncertain);
            }
        }
    }

    /// Handles a failure to reopen the database. The writer tries again later unless a sync has
    /// failed.
    fn cannot_reopen(&mut self, error: &str) {
        if self.shared.storage.first_fault() == Some(Fault::Sync) {
            self.poison(&damaged(error));
        } else {
            tracing::debug!(error, "failed to reopen a log while the disk is full");
        }
    }

    /// Stops accepting records. A failed `fsync` is never repeated, because it may succeed although
    /// the data is lost.
    fn poison(&mut self, error: &redb::Error) -> Cause {
        tracing::error!(%error, "a log has failed and no longer stores events; restart the process");
        let cause = format!("the log has failed; restart the process: {error}");
        let cause = Cause::new(cause);
        self.state = State::Poisoned(cause.clone());
        self.shared.set_healthy(false);
        cause
    }

    fn set_full(&mut self, error: &dyn Error, bytes: usize) -> Cause {
        let (first, longest) = RETRY;
        let (delay, bytes) = match &self.state {
            State::Full { delay, bytes, .. } => (longest.min(*delay * 2), *bytes),
            State::Healthy | State::Poisoned(_) => {
                tracing::error!(%error, "the disk is full; a log stores no events until space is free");
                (first, bytes.max(PROBE_BYTES))
            }
        };
        let cause = Cause::new(format!("the disk is full: {error}"));
        self.state = State::Full {
            cause: cause.clone(),
            bytes,
            retry_at: Instant::now() + delay,
            delay,
        };
        self.shared.set_healthy(false);
        cause
    }

    /// Reopens the database, because redb rejects all operations after an error. Afterwards, the
    /// last transaction has been either committed or rolled back.
    fn reopen(&mut self) -> Result<(), String> {
        let mut open = self.shared.database_mut();
        if let Some(failed) = open.take() {
            // After an error, closing the database only releases its resources.
            let _ = close(failed);
        }
        self.shared.storage.reset();
        let database = open_database(&self.shared.storage).map_err(|error| error.to_string())?;
        *open = Some(database);
        Ok(())
    }

    fn find(&self, batch: &[Request]) -> Result<Vec<Option<Appended>>, String> {
        let database = self.shared.database();
        let database = database.as_ref().ok_or("the database is closed")?;
        let found = catch_redb_panic(|| append::find(database, batch));
        found.map_err(|error| error.to_string())
    }

    /// Checks whether the disk has free space again.
    fn probe(&mut self) {
        let State::Full { bytes, .. } = self.state else {
            return;
        };
        self.shared.storage.reset();
        let is_open = self.shared.database().is_some();
        let probed = match is_open {
            true => self.write_probe(bytes),
            false => match self.reopen() {
                Ok(()) => self.write_probe(bytes),
                Err(error) => Err(damaged(&error)),
            },
        };
        let Err(error) = probed else {
            tracing::info!("the disk has free space again; a log has resumed storing events");
            self.state = State::Healthy;
            self.shared.set_healthy(true);
            return;
        };
        match self.shared.storage.first_fault() {
            Some(Fault::Full) => {
                self.set_full(&error, bytes);
                if let Err(error) = self.reopen() {
                    self.cannot_reopen(&error);
                }
            }
            Some(Fault::Sync | Fault::Other) | None => {
                self.poison(&error);
            }
        }
    }

    /// Writes as many bytes as the batch that failed, and removes them again.
    fn write_probe(&self, bytes: usize) -> Result<(), redb::Error> {
        let database = self.shared.database();
        let database = database.as_ref().ok_or(redb::Error::DatabaseClosed)?;
        let write = || {
            // The content is pseudorandom, because a file system may store zeros without allocating
            // space.
            let mut state = 1_u64;
            let content = std::iter::repeat_with(|| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                state.to_le_bytes()[7]
            });
            let content: Vec<u8> = content.take(bytes).collect();
            let transaction = database.begin_write()?;
            transaction.open_table(PROBE)?.insert(0, &*content)?;
            transaction.commit()?;
            let transaction = database.begin_write()?;
            transaction.delete_table(PROBE)?;
            transaction.commit()?;
            Ok(())
        };
        catch_redb_panic(write)
    }

    /// Returns free space at the end of the file to the file system, if most of the file is free.
    fn compact(&mut self) {
        self.has_grown = false;
        match self.is_sparse() {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::debug!(%error, "failed to measure a log");
                return;
            }
        }
        self.shared.storage.reset();
        let compacted = {
            let mut database = self.shared.database_mut();
            let Some(database) = &mut *database else {
                return;
            };
            catch_unwind(AssertUnwindSafe(|| database.compact()))
        };
        match compacted {
            Ok(Ok(_)) => {}
            // A read is in progress, so try again after the next idle period.
            Ok(Err(CompactionError::TransactionInProgress)) => self.has_grown = true,
            Ok(Err(CompactionError::Storage(error))) => {
                self.fail(
                    Vec::new(),
                    &Failed {
                        error: error.into(),
                        is_commit: true,
                    },
                );
            }
            Ok(Err(error)) => tracing::debug!(%error, "failed to compact a log"),
            Err(_) => {
                self.poison(&damaged(PANICKED));
            }
        }
    }

    fn is_sparse(&self) -> Result<bool, redb::Error> {
        let size = self.shared.storage.len()?;
        if size <= COMPACT_BYTES {
            return Ok(false);
        }
        let transaction = self.shared.begin_read()?;
        let live = catch_redb_panic(|| read::live_bytes(&transaction))?;
        transaction.close()?;
        Ok(size / COMPACT_FACTOR > live)
    }
}

fn answer_unstored(batch: Vec<Request>, cause: &Cause, is_uncertain: bool) {
    for request in batch {
        match is_uncertain {
            true => request.doubt(cause),
            false => request.reject(cause),
        }
    }
}

fn close(database: Database) -> Result<(), String> {
    let closed = catch_unwind(AssertUnwindSafe(|| database.close()));
    let closed = closed.map_err(|_| PANICKED)?;
    closed.map_err(|error| error.to_string())
}
