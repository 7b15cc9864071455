//! [`Backend`]: where a topic's events live, and the readers of it.
//!
//! Memory is one. The trait is shaped for those that are further away as well, a log on disk or another server: to
//! publish may take time, ids are opaque, and a reader is asked, by polling, for what comes next.

use std::{
    fmt,
    future::Future,
    mem,
    ops::{Deref, Range},
    pin::Pin,
    sync::{Arc, atomic::AtomicUsize},
    task::{Context, Poll},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::time::Instant;

use super::{batch::Batch, publish::PublishError};
use crate::{
    event::{gap::Gap, id::EventId},
    generator::{outgoing::Outgoing, run_failure::Failure},
};

/// An event that was published: its value, and its bytes, which all its readers share.
#[derive(Debug)]
pub(crate) struct Encoded<T> {
    pub(crate) value: T,
    /// The frame without its `id` line, which is the back end's to give.
    pub(crate) frame: BytesMut,
}

/// An event as a back end holds it.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    pub(crate) id: EventId,
    pub(crate) value: T,
    pub(crate) frame: Bytes,
    /// Where the `id` line is in the frame: after the name of the event.
    pub(crate) id_line: Range<usize>,
}

/// What an event takes beside its entry and its frame: the counts of its `Arc`, the rounding of two
/// allocations, and its place in the ring, which has as many to spare.
const OVERHEAD: usize = 16 + 2 * 16 + 2 * 24;

impl<T> Entry<T> {
    pub(crate) fn new(id: EventId, Encoded { value, frame }: Encoded<T>) -> Self {
        let id_line = format!("id: {id}\n");
        let (name, rest) = frame.split_at(name_len(&frame));
        let mut whole = BytesMut::with_capacity(id_line.len() + frame.len());
        whole.put_slice(name);
        whole.put_slice(id_line.as_bytes());
        whole.put_slice(rest);
        Self {
            id,
            value,
            frame: whole.freeze(),
            id_line: name.len()..name.len() + id_line.len(),
        }
    }

    /// How many bytes it takes to hold it. Nobody knows what a value has on the heap: if it has
    /// something, it is taken to be as much as was written of it.
    pub(crate) fn cost(&self) -> usize {
        let heap = match mem::needs_drop::<T>() {
            true => self.frame.len() - self.id_line.len(),
            false => 0,
        };
        size_of::<Self>() + OVERHEAD + self.frame.len() + heap
    }
}

/// How long the lines are that come before the id of a frame: a comment, and the name of the event.
fn name_len(frame: &[u8]) -> usize {
    let mut len = 0;
    // Most events have no name.
    if frame.starts_with(b"data:") {
        return len;
    }
    for line in frame.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b":") {
            len += line.len();
        } else if line.starts_with(b"event:") {
            return len + line.len();
        } else {
            break;
        }
    }
    len
}

/// An event on its way to one reader.
#[derive(Debug)]
pub(crate) struct Delivery<T> {
    pub(crate) entry: Arc<Entry<T>>,
    /// The id for a reader that has a cursor of its own kind, over several topics.
    pub(crate) id: Option<EventId>,
}

impl<T> Clone for Delivery<T> {
    fn clone(&self) -> Self {
        Self {
            entry: Arc::clone(&self.entry),
            id: self.id.clone(),
        }
    }
}

impl<T> Delivery<T> {
    #[inline]
    pub(crate) fn of(entry: &Arc<Entry<T>>) -> Self {
        Self {
            entry: Arc::clone(entry),
            id: None,
        }
    }

    pub(crate) fn id(&self) -> &EventId {
        self.id.as_ref().unwrap_or(&self.entry.id)
    }

    /// How long its frame is.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match &self.id {
            None => self.entry.frame.len(),
            Some(id) => self.len_with(id),
        }
    }

    #[inline(never)]
    fn len_with(&self, id: &EventId) -> usize {
        let Entry { frame, id_line, .. } = &*self.entry;
        format!("id: {id}\n").len() + frame.len() - id_line.len()
    }

    /// Writes its frame where others can follow.
    pub(crate) fn put_into(&self, outgoing: &mut Outgoing) {
        if self.id.is_none() {
            outgoing.frames.share(&self.entry.frame);
        } else {
            self.copy_into(&mut outgoing.frames.buffer);
        }
    }

    pub(crate) fn copy_into(&self, buffer: &mut BytesMut) {
        let Entry { frame, id_line, .. } = &*self.entry;
        match &self.id {
            None => buffer.put_slice(frame),
            Some(id) => {
                buffer.put_slice(&frame[..id_line.start]);
                buffer.put_slice(format!("id: {id}\n").as_bytes());
                buffer.put_slice(&frame[id_line.end..]);
            }
        }
    }
}

impl<T> Deref for Delivery<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.entry.value
    }
}

/// What a reader is given.
#[derive(Debug)]
pub(crate) enum Read<T> {
    /// The next event, and all there is for now.
    Event {
        delivery: Delivery<T>,
        /// Whoever has asked is woken when there is more, as where there was nothing.
        waits: bool,
    },
    /// The next events, which others may have as well.
    Events {
        batch: Arc<Batch<T>>,
        /// There are more behind them.
        more: bool,
        /// As above, for whoever takes all of them at once.
        waits: bool,
    },
    Gap(Gap),
    /// The reader is to end, and to come back: what it would read next is held elsewhere.
    Lagged,
    /// The topic is finished, and the reader has all of it.
    End,
    /// The same, but its run has failed.
    Failed(Arc<Failure>),
}

/// Where a reader starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StartAt {
    Start(super::Start),
    /// After this id, as a client has sent it.
    After(String),
    /// The same, but the client has received the end of the stream after it.
    Done(String),
    /// The client has sent something that is no id.
    Unknown,
}

pub(crate) type Publishing<'a> =
    Pin<Box<dyn Future<Output = Result<EventId, PublishError>> + Send + 'a>>;

/// Where a topic's events live.
pub(crate) trait Backend<T>: fmt::Debug + Send + Sync {
    /// Adds an event behind all others.
    fn publish(&self, event: Encoded<T>) -> Publishing<'_>;

    /// The same at once; gives the event back, where that takes time.
    fn try_publish(&self, event: Encoded<T>) -> Result<Result<EventId, PublishError>, Encoded<T>>;

    fn subscribe(self: Arc<Self>, from: StartAt) -> Box<dyn Reader<T>>;

    fn subscribers(&self) -> usize;

    /// Since when it has had no reader; `None` if it has one.
    fn unread_since(&self) -> Option<Instant>;

    /// How many bytes it holds.
    fn held_bytes(&self) -> usize;

    /// Adds what it holds, now and later, to a sum over several.
    fn count_in(&self, sum: &Arc<AtomicUsize>);

    /// Nothing is published any more.
    fn finish(&self);

    /// Nothing is published any more, because the run that did has failed.
    fn fail(&self, failure: Arc<Failure>);

    fn is_finished(&self) -> bool;
}

/// One who reads a topic: a cursor, and not a queue.
pub(crate) trait Reader<T>: fmt::Debug + Send {
    /// What comes behind what was read last.
    ///
    /// # Cancel safety
    ///
    /// What was not returned is returned by the next call.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Read<T>>;

    /// A gap that is known before anything is read, and that the [`position`](Self::position) is behind already. What reads
    /// one topic is told of it by the first read.
    fn take_gap(&mut self) -> Option<Gap>;

    /// The id behind all that was read.
    fn position(&self) -> EventId;

    /// Whether the client has received the end of all that is read here.
    fn is_done(&self) -> bool;

    /// Whether a run that is read here has failed.
    fn has_failed(&self) -> bool;
}
