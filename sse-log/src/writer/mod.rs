//! [`Writer`]: the thread that performs all appends.
//!
//! | state | an append |
//! | --- | --- |
//! | `Healthy` | is committed together with all other queued appends |
//! | `Full` | is rejected until a write succeeds |
//! | `Poisoned` | is rejected |
//!
//! While the state is `Healthy`, the writer also removes topics that have expired and are not in
//! use, and compacts the file. While the state is `Full`, it removes such topics to free space.

mod maintenance;

use std::{
    collections::VecDeque,
    error::Error,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use redb::Database;
use sse_runtime::topic::engine::{AppendError, Appended, Record, Stored};

use crate::{
    append::{self, Failed, Outcome},
    expire,
    open::{PANICKED, catch_redb_panic, open_database},
    request::{Cause, Command, Request, reply_commit_failed},
    shared::Shared,
    storage::Fault,
    tables::damaged,
};

/// The size at which no more records are added to a batch, in bytes.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// The delays between attempts to write to a full disk: the first and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// The minimum size of an attempt to write to a full disk, in bytes.
const PROBE_BYTES: usize = 64 * 1024;

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

/// The settings of a [`LogBuilder`](crate::LogBuilder) that concern the writer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) max_event_bytes: usize,
    pub(crate) compact_after: Duration,
    pub(crate) sweep_interval: Duration,
}

pub(crate) struct Writer {
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    settings: Settings,
    state: State,
    /// The time at which to look for expired topics.
    sweep_at: Instant,
    /// The name after which the sweep continues, if it has not examined all topics yet.
    sweep_after: Option<String>,
    /// The topics that have expired and are about to be removed.
    expired: VecDeque<String>,
    /// The maximum number of records that the next removal removes.
    step: u64,
    /// The time of the last request, or of the last compaction that a read prevented.
    idle_since: Instant,
    /// Whether the file may contain enough unused space to be worth compacting. Set when records are
    /// stored or removed.
    may_be_sparse: bool,
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        commands: Receiver<Command>,
        settings: Settings,
    ) -> Self {
        Self {
            shared,
            commands,
            settings,
            state: State::Healthy,
            // Before the first sweep, give the application time to open its topics, so that they
            // are not removed.
            sweep_at: Instant::now() + settings.sweep_interval,
            sweep_after: None,
            expired: VecDeque::new(),
            step: expire::STEP,
            idle_since: Instant::now(),
            may_be_sparse: true,
        }
    }

    /// Serves requests until the engine is dropped, and then closes the file.
    pub(crate) fn run(mut self) {
        loop {
            let received = match self.wake_at() {
                Some(at) => {
                    let wait = at.saturating_duration_since(Instant::now());
                    self.commands.recv_timeout(wait)
                }
                None => self.commands.recv().map_err(RecvTimeoutError::from),
            };
            match received {
                Ok(first) => {
                    let batch = self.take_queued(first);
                    if !batch.is_empty() {
                        self.serve(batch);
                        self.idle_since = Instant::now();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.maintain();
        }
        if let Some(database) = self.shared.database_mut().take()
            && let Err(error) = close(database)
        {
            // All acknowledged records are already on the disk.
            tracing::debug!(error, "failed to close a log");
        }
    }

    /// Takes the waiting requests, apart from those whose publishers have given up.
    fn take_queued(&self, first: Command) -> Vec<Request> {
        let mut bytes = 0;
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(command) = next {
            match command {
                Command::Request(request) if request.is_cancelled() => {}
                Command::Request(request) => {
                    bytes += request.bytes();
                    batch.push(request);
                }
                Command::Settle { reply } => drop(reply.send(())),
            }
            next = match bytes < BATCH_BYTES {
                true => self.commands.try_recv().ok(),
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
                append::apply(database, &batch, self.settings.max_event_bytes)
            }))
        };
        let failed = match applied {
            Ok(Ok(outcomes)) => {
                self.may_be_sparse = true;
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
                            max: self.settings.max_event_bytes,
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
            mark: appended.mark,
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
            return reply_commit_failed(batch, &cause, is_uncertain);
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
                reply_commit_failed(batch, &cause, is_uncertain);
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
}

fn close(database: Database) -> Result<(), String> {
    let closed = catch_unwind(AssertUnwindSafe(|| database.close()));
    let closed = closed.map_err(|_| PANICKED)?;
    closed.map_err(|error| error.to_string())
}
