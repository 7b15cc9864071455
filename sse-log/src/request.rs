//! [`Command`] and [`Request`]: the messages that the writer receives.

use std::{error::Error, fmt, sync::Arc};

use sse_runtime::topic::engine::{AppendError, Appended, Keep, Record, Unreachable};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// A command for the writer.
pub(crate) enum Command {
    Request(Request),
    /// Requests a reply. The writer reads commands only between the steps of a removal, so when it
    /// replies, the step that was in progress has been completed.
    Settle {
        reply: oneshot::Sender<()>,
    },
}

/// A request to change the log.
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
    pub(crate) fn is_cancelled(&self) -> bool {
        match self {
            Self::Append { reply, .. } => reply.is_closed(),
            Self::Create { reply, .. } => reply.is_closed(),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Append { record, .. } => record.body.len(),
            Self::Create { .. } => 0,
        }
    }

    /// Replies that nothing was stored.
    pub(crate) fn reject(self, cause: &Cause) {
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
    pub(crate) fn reply_unknown(self, cause: &Cause) {
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

/// Replies to the requests of a batch whose commit failed. If `is_uncertain`, the batch may have been
/// committed nevertheless.
pub(crate) fn reply_commit_failed(batch: Vec<Request>, cause: &Cause, is_uncertain: bool) {
    for request in batch {
        match is_uncertain {
            true => request.reply_unknown(cause),
            false => request.reject(cause),
        }
    }
}
