//! [`Storage`]: the file that redb uses. It records how the first failed operation failed.

use std::{
    io,
    ops::Bound,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::{BackendError, StorageBackend};

/// The magic number at the start of every redb file.
const MAGIC: [u8; 9] = *b"redb\x1A\x0A\xA9\x0D\x0A";

/// The size of redb's header, in bytes.
const HEADER: usize = 320;

/// The maximum size of a file that may be an unfinished new redb file, in bytes. The initial size
/// of a redb file is 72 KiB.
const UNFINISHED: u64 = 1024 * 1024;

/// The file, or a back end injected by a test. It is locked as long as it is open.
///
/// After the disk was full, redb is reopened on the same storage. The storage therefore holds the
/// lock instead of redb. Otherwise, another process could lock the file while redb is being
/// reopened.
#[derive(Debug)]
pub(crate) struct Storage {
    backend: Box<dyn StorageBackend>,
    /// The operations that have been held back, or `None` if operations are performed immediately.
    held: Mutex<Option<Vec<Operation>>>,
    fault: Mutex<Option<Fault>>,
    /// Whether redb has tried to write its header since the last reset.
    is_header_written: AtomicBool,
}

#[derive(Debug)]
enum Operation {
    Write { offset: u64, data: Vec<u8> },
    SetLen(u64),
    Sync,
}

/// The kind of failure of the first operation that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A sync failed. The data written before it may or may not be on the disk, and the kernel may
    /// have marked the data as written even if it is not.
    Sync,
    /// The disk or the user's quota is full.
    Full,
    Other,
}

/// The content of a file, as determined from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The file is empty, or the process that created it was interrupted.
    New,
    Redb,
    Other,
}

impl Storage {
    /// Locks the storage. Returns `None` if it is already locked by another process.
    pub(crate) fn lock(backend: Box<dyn StorageBackend>) -> io::Result<Option<Self>> {
        match backend.try_lock_range(Bound::Unbounded, Bound::Unbounded) {
            Ok(true) | Err(BackendError::Unsupported) => {}
            Ok(false) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        Ok(Some(Self {
            backend,
            held: Mutex::default(),
            fault: Mutex::default(),
            is_header_written: AtomicBool::new(false),
        }))
    }

    /// Determines the file's content. If the file is an unfinished new redb file, empties it.
    pub(crate) fn identify(&self) -> io::Result<Content> {
        let len = self.backend.len()?;
        if len == 0 {
            return Ok(Content::New);
        }
        let mut start = vec![0; usize::try_from(len.min(UNFINISHED)).unwrap_or(HEADER)];
        self.backend.read(0, &mut start)?;
        if start.starts_with(&MAGIC) {
            return Ok(Content::Redb);
        }
        // redb first writes the header without its magic number, and then writes the magic number.
        // It writes nothing else until the magic number is on the disk. Either write may be torn.
        let (magic, rest) = start.split_at(MAGIC.len().min(start.len()));
        let written = magic.iter().take_while(|byte| **byte != 0).count();
        let is_prefix = MAGIC.starts_with(&magic[..written]);
        let is_prefix = is_prefix && (written == 0 || start.len() >= HEADER);
        let is_magic_unfinished = is_prefix && magic[written..].iter().all(|byte| *byte == 0);
        let pages = rest.get(HEADER - MAGIC.len()..).unwrap_or_default();
        if is_magic_unfinished && len <= UNFINISHED && pages.iter().all(|byte| *byte == 0) {
            self.backend.set_len(0)?;
            return Ok(Content::New);
        }
        Ok(Content::Other)
    }

    /// Starts to hold back all changes. redb reads its own changes, but the file does not change.
    pub(crate) fn hold(&self) {
        *self.held() = Some(Vec::new());
    }

    /// Performs the changes that were held back, in their original order, and stops holding back
    /// changes.
    pub(crate) fn release(&self) -> io::Result<()> {
        let operations = self.held().take().unwrap_or_default();
        for operation in operations {
            match operation {
                Operation::Write { offset, data } => self.backend.write(offset, &data)?,
                Operation::SetLen(len) => self.backend.set_len(len)?,
                Operation::Sync => self.backend.sync_data()?,
            }
        }
        Ok(())
    }

    /// Holds an operation back if changes are being held back. Returns whether the operation was
    /// held back.
    fn hold_back(&self, operation: impl FnOnce() -> Operation) -> bool {
        match &mut *self.held() {
            Some(operations) => {
                operations.push(operation());
                true
            }
            None => false,
        }
    }

    pub(crate) fn len(&self) -> io::Result<u64> {
        let held = self.held();
        let mut len = self.backend.len()?;
        for operation in held.iter().flatten() {
            match operation {
                Operation::Write { offset, data } => len = len.max(offset + data.len() as u64),
                Operation::SetLen(set) => len = *set,
                Operation::Sync => {}
            }
        }
        Ok(len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let held = self.held();
        let Some(operations) = &*held else {
            drop(held);
            return self.backend.read(offset, out);
        };
        // While changes are held back, redb reads the whole file but changes only a few pages.
        let index_of = |position: u64| usize::try_from(position).unwrap_or(usize::MAX);
        let stored = self.backend.len()?.saturating_sub(offset);
        let len = out.len();
        let (stored, beyond) = out.split_at_mut(index_of(stored).min(len));
        if !stored.is_empty() {
            self.backend.read(offset, stored)?;
        }
        beyond.fill(0);
        let mut end = offset + (len - beyond.len()) as u64;
        for operation in operations {
            match operation {
                Operation::Write { offset: at, data } => {
                    end = end.max(at + data.len() as u64);
                    let (skipped, start) = (offset.saturating_sub(*at), at.saturating_sub(offset));
                    let data = data.get(index_of(skipped)..).unwrap_or_default();
                    let out = out.get_mut(index_of(start)..).unwrap_or_default();
                    let len = data.len().min(out.len());
                    out[..len].copy_from_slice(&data[..len]);
                }
                Operation::SetLen(len) => {
                    end = *len;
                    let start = index_of(len.saturating_sub(offset));
                    out.get_mut(start..).unwrap_or_default().fill(0);
                }
                Operation::Sync => {}
            }
        }
        match offset + len as u64 > end {
            true => Err(io::ErrorKind::UnexpectedEof.into()),
            false => Ok(()),
        }
    }

    /// Forgets earlier failures.
    pub(crate) fn reset(&self) {
        *self.fault() = None;
        self.is_header_written.store(false, Ordering::Relaxed);
    }

    /// Returns the failure of the first operation that failed since the last reset, if any. A
    /// failed sync replaces an earlier failure.
    pub(crate) fn first_fault(&self) -> Option<Fault> {
        *self.fault()
    }

    /// Returns whether redb has tried to write its header since the last reset. If not, it cannot
    /// have committed anything since then.
    pub(crate) fn is_header_written(&self) -> bool {
        self.is_header_written.load(Ordering::Relaxed)
    }

    fn fault(&self) -> MutexGuard<'_, Option<Fault>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, Option<Vec<Operation>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note<T>(&self, result: io::Result<T>, is_sync: bool) -> io::Result<T> {
        if let Err(error) = &result {
            let fault = match error.kind() {
                _ if is_sync => Fault::Sync,
                io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
                | io::ErrorKind::FileTooLarge => Fault::Full,
                _ => Fault::Other,
            };
            let mut first = self.fault();
            // After a failed sync, it is uncertain what is on the disk, so this failure takes
            // precedence.
            if first.is_none() || is_sync {
                *first = Some(fault);
            }
        }
        result
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        if let Err(error) = self.backend.close() {
            tracing::warn!(%error, "failed to release the lock on a log");
        }
    }
}

/// The handle through which redb uses the storage.
#[derive(Debug)]
pub(crate) struct Handle(pub(crate) Arc<Storage>);

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        self.0.note(self.0.len(), false)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.note(self.0.read(offset, out), false)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if self.0.hold_back(|| Operation::SetLen(len)) {
            return Ok(());
        }
        self.0.note(self.0.backend.set_len(len), false)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.0.hold_back(|| Operation::Sync) {
            return Ok(());
        }
        self.0.note(self.0.backend.sync_data(), true)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset == 0 {
            self.0.is_header_written.store(true, Ordering::Relaxed);
        }
        let data_of = || Operation::Write {
            offset,
            data: data.to_vec(),
        };
        if self.0.hold_back(data_of) {
            return Ok(());
        }
        self.0.note(self.0.backend.write(offset, data), false)
    }

    // The storage already holds a lock on the whole file, so redb's own locks do nothing.

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn try_lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn query_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(false)
    }
}
