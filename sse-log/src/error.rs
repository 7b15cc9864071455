//! [`LogError`]: the error returned if a log cannot be opened.

use std::{error::Error, io, path::PathBuf, time::Duration};

/// The error returned if a [`Log`](crate::Log) cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The file is not a log. It has not been changed.
    #[error("{} is not a log; choose another path, or move the file away", path.display())]
    #[non_exhaustive]
    NotALog {
        /// The path of the file.
        path: PathBuf,
    },
    /// The file was written by a newer version of this crate. It has not been changed.
    #[error(
        "{} has format {found}, but this version of sse-log reads only up to format {supported}; \
         deploy the version that wrote it, or a newer one",
        path.display()
    )]
    #[non_exhaustive]
    NewerFormat {
        /// The path of the file.
        path: PathBuf,
        /// The version of the file's format.
        found: u64,
        /// The newest format version that this version of the crate can read.
        supported: u64,
    },
    /// Another process had the file open and did not close it within
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
        /// The time that the call waited.
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
        /// The error returned by redb.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The file could not be read or written.
    #[error(
        "failed to open {}: {source}; check that the directory exists, that the process is allowed \
         to write to it, and that the disk is not full",
        path.display()
    )]
    #[non_exhaustive]
    Io {
        /// The path of the file.
        path: PathBuf,
        /// The error returned by the operating system.
        source: io::Error,
    },
}
