//! The work that the writer does between requests: removing expired topics, compacting the file, and
//! checking whether a full disk has free space again.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use redb::CompactionError;

use super::{State, Writer};
use crate::{
    append::Failed,
    expire,
    open::{PANICKED, catch_redb_panic},
    read,
    storage::Fault,
    tables::{PROBE, damaged},
};

/// The size up to which a file is not compacted, in bytes.
const COMPACT_BYTES: u64 = 4 * 1024 * 1024;

/// A file is compacted if it is more than this many times as large as its records.
const COMPACT_FACTOR: u64 = 3;

impl Writer {
    /// Returns the time at which to call [`maintain`](Self::maintain) if no command arrives, or `None`
    /// if no work will become due.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        match &self.state {
            State::Full { retry_at, .. } => Some(*retry_at),
            State::Healthy if !self.expired.is_empty() || self.sweep_after.is_some() => {
                Some(Instant::now())
            }
            State::Healthy if self.may_be_sparse => {
                let compact_at = self.idle_since + self.settings.compact_after;
                Some(self.sweep_at.min(compact_at))
            }
            State::Healthy => Some(self.sweep_at),
            State::Poisoned(_) => None,
        }
    }

    /// Performs at most one step of the work that is due, so that queued appends are served in
    /// between. Compaction is a single long step, but it runs only while the log is idle.
    pub(super) fn maintain(&mut self) {
        let now = Instant::now();
        match self.state {
            State::Poisoned(_) => {}
            State::Full { retry_at, .. } => {
                if retry_at <= now {
                    self.probe();
                    self.make_room();
                }
            }
            State::Healthy => {
                if let Some(name) = self.expired.pop_front() {
                    self.remove(name);
                } else if self.sweep_at <= now || self.sweep_after.is_some() {
                    self.sweep_at = now + self.settings.sweep_interval;
                    self.sweep();
                } else if self.may_be_sparse && self.idle_since + self.settings.compact_after <= now
                {
                    self.compact();
                }
            }
        }
    }

    /// If the disk is still full, removes records of an expired topic, whose pages can then be
    /// reused.
    fn make_room(&mut self) {
        if let State::Full { .. } = self.state {
            if self.expired.is_empty() {
                self.sweep();
            }
            if let Some(name) = self.expired.pop_front() {
                self.remove(name);
            }
        }
    }

    /// Looks for topics that have expired.
    fn sweep(&mut self) {
        let after = self.sweep_after.take();
        let found = self.shared.begin_read().and_then(|transaction| {
            let found = catch_redb_panic(|| expire::find(&transaction, after.as_deref()));
            transaction.close()?;
            found
        });
        match found {
            Ok((found, after)) => {
                let watched = self.shared.watched();
                let found = found.into_iter();
                let unused = found.filter(|name| !watched.topics.contains(&**name));
                self.expired.extend(unused);
                self.sweep_after = after;
            }
            Err(error) => tracing::debug!(%error, "failed to look for expired topics"),
        }
    }

    /// Removes some of the records of an expired topic, or the topic itself.
    fn remove(&mut self, name: String) {
        {
            let mut watched = self.shared.watched();
            if watched.topics.contains(&*name) {
                return;
            }
            watched.removing = Some((&*name).into());
        }
        self.shared.storage.reset();
        let removed = {
            let database = self.shared.database();
            let remove = |database| {
                catch_unwind(AssertUnwindSafe(|| {
                    expire::remove(database, &name, self.step)
                }))
            };
            database.as_ref().map(remove)
        };
        self.shared.watched().removing = None;
        let Some(removed) = removed else { return };
        self.may_be_sparse = true;
        let failed = match removed {
            Ok(Ok(is_removed)) => {
                self.step = expire::STEP.min(self.step * 2);
                if !is_removed {
                    self.expired.push_front(name);
                }
                return;
            }
            Ok(Err(failed)) => failed,
            Err(_) => Failed {
                error: damaged(PANICKED),
                is_commit: true,
            },
        };
        if self.shared.storage.first_fault() != Some(Fault::Full) {
            return self.fail(Vec::new(), &failed);
        }
        // A removal needs free space, because it writes copies of the pages that it changes.
        // Smaller writes may still succeed, so the log does not become unhealthy. After the next
        // sweep, the writer tries again with fewer records.
        self.step = (self.step / 8).max(1);
        self.expired.clear();
        self.sweep_after = None;
        if let Err(error) = self.reopen() {
            self.set_full(&failed.error, 0);
            self.cannot_reopen(&error);
        }
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
        self.may_be_sparse = false;
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
            Ok(Err(CompactionError::TransactionInProgress)) => {
                self.may_be_sparse = true;
                self.idle_since = Instant::now();
            }
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

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, mpsc::Sender},
        time::Duration,
    };

    use redb::{Database, backends::InMemoryBackend};
    use tokio::sync::oneshot;

    use super::*;
    use crate::{
        append, open,
        request::{Command, Request},
        shared::Shared,
        writer::Settings,
    };

    /// Returns a writer for an in-memory log, to which `prepare` has been applied.
    fn writer(prepare: impl FnOnce(&Database)) -> (Writer, Sender<Command>) {
        let (storage, database) = open::open_backend(Box::new(InMemoryBackend::new())).unwrap();
        prepare(&database);
        let (commands, received) = std::sync::mpsc::channel();
        let settings = Settings {
            max_event_bytes: 100,
            compact_after: Duration::from_secs(30),
            sweep_interval: Duration::from_secs(60),
        };
        let shared = Arc::new(Shared::new(storage, database));
        (Writer::new(shared, received, settings), commands)
    }

    #[test]
    fn compaction_during_a_read_is_not_repeated_at_once() {
        let (mut writer, _commands) = writer(|database| {
            let transaction = database.begin_write().unwrap();
            let mut probe = transaction.open_table(PROBE).unwrap();
            probe.insert(0, &*vec![1; 8 << 20]).unwrap();
            drop(probe);
            transaction.commit().unwrap();
            let transaction = database.begin_write().unwrap();
            transaction.delete_table(PROBE).unwrap();
            transaction.commit().unwrap();
        });
        let long_ago = Instant::now().checked_sub(Duration::from_secs(40));
        writer.idle_since = long_ago.unwrap();
        let shared = Arc::clone(&writer.shared);
        let _read = shared.begin_read().unwrap();
        assert!(writer.wake_at().unwrap() <= Instant::now());
        writer.maintain();
        assert!(writer.may_be_sparse);
        assert!(writer.wake_at().unwrap() > Instant::now());
    }

    #[test]
    fn sweep_examines_a_limited_number_of_topics() {
        let (mut writer, _commands) = writer(|database| {
            let topics = (0..15_000).map(|number| Request::Create {
                topic: format!("runs/{number}").into(),
                reply: oneshot::channel().0,
            });
            assert!(append::apply(database, &topics.collect::<Vec<_>>(), 100).is_ok());
        });
        writer.sweep_at = Instant::now();
        writer.maintain();
        assert!(writer.sweep_after.is_some());
        assert!(writer.wake_at().unwrap() <= Instant::now());
        writer.maintain();
        assert_eq!(writer.sweep_after, None);
        assert!(writer.wake_at().unwrap() > Instant::now());
    }
}
