//! Opens a log's file and checks its format.

use std::{
    fs::{File, OpenOptions},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use redb::{
    Builder, Database, DatabaseError, ReadTransaction, ReadableDatabase as _, StorageBackend,
    StorageError, TableError, backends::FileBackend,
};

use crate::{
    LogError,
    storage::{Content, Handle, Storage},
    tables::{FORMAT, FORMAT_KEY, KEYS, META, RECORDS, TOPICS, damaged},
};

/// The size of redb's cache, in bytes. It holds pages that have been read and pages that have not
/// been written yet.
const CACHE: usize = 32 * 1024 * 1024;

/// The message of the error that is returned if redb panics.
pub(crate) const PANICKED: &str = "redb has panicked";

/// The interval at which the call tries to lock a file that another process has locked.
const POLL: Duration = Duration::from_millis(20);

/// Opens the file at `path`, and creates it if it does not exist. While another process has the
/// file open, the call waits until `timeout` has passed or `is_cancelled` returns `true`.
pub(crate) fn open_file(
    path: &Path,
    timeout: Duration,
    is_cancelled: impl Fn() -> bool,
) -> Result<(Arc<Storage>, Database), LogError> {
    let io_error = |source| LogError::Io {
        path: path.to_owned(),
        source,
    };
    let start = Instant::now();
    loop {
        let (file, is_created) = open_or_create(path).map_err(io_error)?;
        let backend = FileBackend::new(file).map_err(|error| to_log_error(path, error))?;
        let locked = Storage::lock(Box::new(backend)).map_err(io_error)?;
        if let Some(storage) = locked {
            if is_created {
                sync_directory(path).map_err(io_error)?;
            }
            return open_storage(path, storage);
        }
        let waited = start.elapsed();
        if waited >= timeout || is_cancelled() {
            return Err(LogError::Locked {
                path: path.to_owned(),
                waited,
            });
        }
        thread::sleep(POLL.min(timeout - waited));
    }
}

/// Opens a log in a back end that a test has injected.
pub(crate) fn open_backend(
    backend: Box<dyn StorageBackend>,
) -> Result<(Arc<Storage>, Database), LogError> {
    let path = Path::new("<back end>");
    let locked = Storage::lock(backend).map_err(|source| LogError::Io {
        path: path.to_owned(),
        source,
    })?;
    let storage = locked.ok_or_else(|| LogError::Locked {
        path: path.to_owned(),
        waited: Duration::ZERO,
    })?;
    open_storage(path, storage)
}

fn open_or_create(path: &Path) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Another process may create the file at the same time.
            let file = options.create(true).truncate(false).open(path)?;
            Ok((file, true))
        }
        opened => Ok((opened?, false)),
    }
}

/// Makes the directory entry of a new file durable. Otherwise, a power loss could remove the file
/// along with all its events.
fn sync_directory(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let directory = path.parent().filter(|parent| *parent != Path::new(""));
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

fn open_storage(path: &Path, storage: Storage) -> Result<(Arc<Storage>, Database), LogError> {
    let io_error = |source| LogError::Io {
        path: path.to_owned(),
        source,
    };
    let not_a_log = || LogError::NotALog {
        path: path.to_owned(),
    };
    match storage.identify().map_err(io_error)? {
        Content::New => {}
        // redb must not change the file if the file turns out to be unusable.
        Content::Redb => storage.hold(),
        Content::Other => return Err(not_a_log()),
    }
    let storage = Arc::new(storage);
    let database = open_database(&storage).map_err(|error| to_log_error(path, error))?;
    let format = catch_redb_panic(|| read_format(&database.begin_read()?));
    match format.map_err(|error| to_damaged(path, error))? {
        Format::Number(number) if number <= FORMAT => storage.release().map_err(io_error)?,
        Format::Number(found) => {
            return Err(LogError::NewerFormat {
                path: path.to_owned(),
                found,
                supported: FORMAT,
            });
        }
        Format::Empty => {
            storage.release().map_err(io_error)?;
            catch_redb_panic(|| create_tables(&database)).map_err(|error| match error {
                redb::Error::Io(source) => io_error(source),
                error => to_damaged(path, error),
            })?;
        }
        Format::NotALog => return Err(not_a_log()),
    }
    Ok((storage, database))
}

/// Opens the database for writing. After a crash, redb rolls back the last transaction unless it
/// was committed.
///
/// redb is configured to verify all checksums, so opening takes time proportional to the size of
/// the file. By default, redb trusts a file that was closed cleanly, and a damaged page could make
/// it panic.
pub(crate) fn open_database(storage: &Arc<Storage>) -> Result<Database, DatabaseError> {
    let opened = catch_unwind(AssertUnwindSafe(|| {
        Builder::new()
            .set_cache_size(CACHE)
            .set_check_integrity_on_open(true)
            .create_with_backend(Handle(Arc::clone(storage)))
    }));
    opened.unwrap_or_else(|_| Err(StorageError::Corrupted(PANICKED.to_owned()).into()))
}

/// Calls redb and converts a panic into an error. In debug builds, redb may panic if the file is
/// damaged.
pub(crate) fn catch_redb_panic<T>(
    call: impl FnOnce() -> Result<T, redb::Error>,
) -> Result<T, redb::Error> {
    let called = catch_unwind(AssertUnwindSafe(call));
    called.unwrap_or_else(|_| Err(damaged(PANICKED)))
}

/// The format of a redb file.
enum Format {
    /// The file is a log.
    Number(u64),
    /// The file contains no tables, because the process that created it was interrupted.
    Empty,
    /// The file is another program's database.
    NotALog,
}

fn read_format(transaction: &ReadTransaction) -> Result<Format, redb::Error> {
    if transaction.list_tables()?.next().is_none() {
        let is_empty = transaction.list_multimap_tables()?.next().is_none();
        return Ok(match is_empty {
            true => Format::Empty,
            false => Format::NotALog,
        });
    }
    let meta = match transaction.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::Storage(error)) => return Err(error.into()),
        Err(_) => return Ok(Format::NotALog),
    };
    let format = meta.get(FORMAT_KEY)?;
    Ok(format.map_or(Format::NotALog, |format| Format::Number(format.value())))
}

fn create_tables(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(META)?.insert(FORMAT_KEY, FORMAT)?;
    transaction.open_table(TOPICS)?;
    transaction.open_table(RECORDS)?;
    transaction.open_table(KEYS)?;
    transaction.commit()?;
    Ok(())
}

fn to_damaged(path: &Path, error: redb::Error) -> LogError {
    LogError::Damaged {
        path: path.to_owned(),
        source: error.into(),
    }
}

fn to_log_error(path: &Path, error: DatabaseError) -> LogError {
    let path = path.to_owned();
    match error {
        DatabaseError::UpgradeRequired(_) => LogError::NotALog { path },
        DatabaseError::Storage(StorageError::Io(source)) => match source.kind() {
            // redb has read past the end of the file.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => LogError::Damaged {
                path,
                source: source.into(),
            },
            _ => LogError::Io { path, source },
        },
        error => LogError::Damaged {
            path,
            source: error.into(),
        },
    }
}
