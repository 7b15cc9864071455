//! [`LogError`]: the error returned if a log cannot be opened.

use std::{error::Error, io, path::PathBuf, time::Duration};

/// The error returned if a [`Log`](crate::Log) cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The file contains something else. It has not been changed.
    #[error("{} is not a log; choose another path, or move the file away", path.display())]
    #[non_exhaustive]
    NotALog {
        /// The path of the file.
        path: PathBuf,
    },
    /// A newer version of this crate has written the file. The file has not been changed.
    #[error(
        "{} has format {found}, but this version of sse-log reads only up to format {supported}; \
         deploy the version that has written it, or a newer one",
        path.display()
    )]
    #[non_exhaustive]
    NewerFormat {
        /// The path of the file.
        path: PathBuf,
        /// The format of the file.
        found: u64,
        /// The newest format that this version reads.
        supported: u64,
    },
    /// Another process has the file open, and did not close it within
    /// [`lock_timeout`](crate::LogBuilder::lock_timeout).
    #[error(
        "another process has {} open and did not close it within {waited:?}; stop that process, \
         use another path, or increase `lock_timeout`",
        path.display()
    )]
    #[non_exhaustive]
    Locked {
        /// The path of the file.
        path: PathBuf,
        /// How long the call waited.
        waited: Duration,
    },
    /// The file is damaged. It has not been changed.
    #[error(
        "{} is damaged: {source}; restore a backup, or move the file away to start with an empty log",
        path.display()
    )]
    #[non_exhaustive]
    Damaged {
        /// The path of the file.
        path: PathBuf,
        /// The error that redb has returned.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The file cannot be read or written.
    #[error(
        "failed to open {}: {source}; check that the directory exists, that the process may write \
         to it, and that the disk is not full",
        path.display()
    )]
    #[non_exhaustive]
    Io {
        /// The path of the file.
        path: PathBuf,
        /// The error that the system has returned.
        source: io::Error,
    },
}
