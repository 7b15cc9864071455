//! [`Backend`], which stores a topic's events, and [`Reader`], which reads them.
//!
//! The back end of an in-memory topic is a [`Ring`](super::ring::Ring). The back end of a stored
//! topic is a [`Follower`](super::engine::Follower), which keeps a ring equal to the newest part of
//! an engine's log.

use std::{
    fmt,
    future::{pending, ready},
    io::Write as _,
    mem,
    ops::{Deref, Range},
    sync::{Arc, atomic::AtomicUsize},
    task::{Context, Poll},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::time::Instant;

use super::{
    Key, OpenError,
    batch::Batch,
    engine::{BoxFuture, RunOwner},
    publish::PublishError,
};
use crate::{
    event::{
        gap::{Gap, GapReason},
        id::EventId,
        position::Position,
    },
    generator::{outgoing::Outgoing, run_failure::Failure},
};

/// An encoded event about to be published. All readers share the value and the frame.
#[derive(Debug)]
pub(crate) struct Encoded<T> {
    pub(crate) value: T,
    /// The frame without its `id` line, which the back end adds.
    pub(crate) frame: BytesMut,
    /// The key set by the publisher, if any. The topic stores at most one event per key.
    pub(crate) key: Option<Key>,
    /// The owner of the run that publishes the event, if the topic is stored by an engine that
    /// several processes share.
    pub(crate) owner: Option<RunOwner>,
}

/// A published event as stored by a back end.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    pub(crate) id: EventId,
    /// The value, or `None` if the event was read from an engine and its value cannot be decoded.
    pub(crate) value: Option<T>,
    pub(crate) frame: Bytes,
    /// The byte range of the `id` line within the frame. The line follows the event name.
    pub(crate) id_line: Range<usize>,
    pub(crate) key: Option<Key>,
}

/// The estimated number of bytes that an event occupies beyond its entry and its frame. It covers
/// the `Arc`'s reference counts, the padding that the allocator adds to the event's two
/// allocations, and the event's slot in the ring. The slot is counted twice, because up to half of
/// the ring's slots may be unused.
const OVERHEAD: usize = 16 + 2 * 16 + 2 * 24;

impl<T> Entry<T> {
    pub(crate) fn new(position: Position, encoded: Encoded<T>) -> Self {
        let Encoded {
            value, frame, key, ..
        } = encoded;
        Self {
            key,
            ..Self::stored(position, Some(value), &frame)
        }
    }

    /// Creates the entry of an event stored by an engine. `value` is `None` if it cannot be
    /// decoded.
    pub(crate) fn stored(position: Position, value: Option<T>, frame: &[u8]) -> Self {
        let id = EventId::position(position);
        // A buffer on the stack saves an allocation for each event.
        let mut buffer = [0; "id: \n".len() + Position::LONGEST_WITH_MARK];
        let mut unused = &mut buffer[..];
        // Writing cannot fail, because the buffer is large enough for every id.
        let _ = writeln!(unused, "id: {id}");
        let unused = unused.len();
        let id_line = &buffer[..buffer.len() - unused];
        let (name, rest) = frame.split_at(name_len(frame));
        let mut whole = BytesMut::with_capacity(id_line.len() + frame.len());
        whole.put_slice(name);
        whole.put_slice(id_line);
        whole.put_slice(rest);
        Self {
            id,
            value,
            frame: whole.freeze(),
            id_line: name.len()..name.len() + id_line.len(),
            key: None,
        }
    }

    /// Creates the entry of an event whose record cannot be decoded at all. The entry's frame is a
    /// `gap` event, which is sent by readers that pass on frames.
    pub(crate) fn unreadable(position: Position) -> Self {
        let gap = b"event: gap\ndata: {\"reason\":\"unreadable\",\"missed\":1}\n\n";
        Self::stored(position, None, gap)
    }

    /// Returns the entry of the same event, for readers that pass on frames.
    pub(crate) fn without_value(&self) -> Self {
        Self {
            id: self.id.clone(),
            value: None,
            frame: self.frame.clone(),
            id_line: self.id_line.clone(),
            key: None,
        }
    }

    pub(crate) fn position(&self) -> Position {
        self.id.as_position()
    }

    /// Returns the number of bytes needed to hold the event. Heap data owned by the value cannot be
    /// measured. If the value may own any, the length of the frame without its `id` line serves as
    /// an estimate.
    pub(crate) fn cost(&self) -> usize {
        let heap = match mem::needs_drop::<T>() {
            true => self.frame.len() - self.id_line.len(),
            false => 0,
        };
        size_of::<Self>() + OVERHEAD + self.frame.len() + heap
    }
}

/// Returns the combined length of a frame's comment lines and `event` line, which precede the `id`
/// line.
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

/// An event being delivered to a reader.
#[derive(Debug)]
pub(crate) struct Delivery<T> {
    pub(crate) entry: Arc<Entry<T>>,
    /// The id to send instead of the entry's id, if any. Set for readers whose ids contain more
    /// than an event number, such as readers of several topics.
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

    /// Returns the gap that a reader of values receives instead of the event, or `None` if the
    /// value was decoded.
    pub(crate) fn unreadable(&self) -> Option<Gap> {
        self.entry.value.is_none().then(|| Gap {
            reason: GapReason::Unreadable,
            missed: Some(1),
            position: self.id().clone(),
        })
    }

    pub(crate) fn id(&self) -> &EventId {
        self.id.as_ref().unwrap_or(&self.entry.id)
    }

    /// Returns the length of the frame.
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

    /// Appends the frame to the outgoing frames. The frame is copied if the delivery's id replaces
    /// the entry's id. Otherwise, it is shared.
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

    /// An event without a value is handed out only as a gap or as bytes.
    fn deref(&self) -> &T {
        let value = self.entry.value.as_ref();
        value.expect("an event that is handed out has a value")
    }
}

/// The result of a read.
#[derive(Debug)]
pub(crate) enum Read<T> {
    /// The topic's newest event, which is the only one left to read.
    Event {
        delivery: Delivery<T>,
        /// Whether the read has already registered the waker for the next event. A read that
        /// returns `Pending` always registers the waker.
        waits: bool,
    },
    /// A batch of the next events, which may be shared with other readers.
    Events {
        batch: Arc<Batch<T>>,
        /// Whether more events follow the batch.
        more: bool,
        /// Like `waits` in `Event`, but valid only if the whole batch is consumed in one poll,
        /// because a later poll may use a different waker.
        waits: bool,
    },
    Gap(Gap),
    /// The reader's next event is no longer held, so the reader must stop. The client must
    /// reconnect to receive further events.
    Lagged,
    /// The topic is finished, and the reader has read every event.
    End,
    /// Like `End`, but the topic's run has failed.
    Failed(Arc<Failure>),
}

/// The position at which a reader starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StartAt {
    Start(super::Start),
    /// After this id, which a client sent.
    After(String),
    /// Like `After`, but the client has also received the end of the stream.
    Done(String),
    /// The client sent an invalid id.
    Unknown,
}

pub(crate) type Publishing<'a> = BoxFuture<'a, Result<EventId, PublishError>>;

pub(crate) type Finishing<'a> = BoxFuture<'a, Result<(), PublishError>>;

/// A store for a topic's events.
pub(crate) trait Backend<T>: fmt::Debug + Send + Sync {
    /// Waits until the topic is open. An in-memory topic is always open.
    fn opened(&self) -> BoxFuture<'_, Result<(), OpenError>> {
        Box::pin(ready(Ok(())))
    }

    /// Returns whether the topic has been opened.
    fn is_open(&self) -> bool {
        true
    }

    /// Appends an event.
    fn publish(&self, event: Encoded<T>) -> Publishing<'_>;

    /// Appends an event without waiting. Returns the event to the caller if the back end would have
    /// to wait.
    fn try_publish(&self, event: Encoded<T>) -> Result<Result<EventId, PublishError>, Encoded<T>>;

    /// Creates a reader. After a gap, the reader continues at `after_gap`, or as configured by the
    /// topic if `after_gap` is `None`.
    fn subscribe(
        self: Arc<Self>,
        from: StartAt,
        after_gap: Option<super::Start>,
    ) -> Box<dyn Reader<T>>;

    fn subscribers(&self) -> usize;

    /// Returns the time at which the last reader left, or `None` while there are readers.
    fn unread_since(&self) -> Option<Instant>;

    /// Returns the number of bytes that the back end holds.
    fn held_bytes(&self) -> usize;

    /// Adds the number of bytes held by this back end to `sum`, which several topics share, and
    /// updates `sum` whenever that number changes.
    fn count_in(&self, sum: &Arc<AtomicUsize>);

    /// Finishes the topic. No more events can be published afterwards. An in-memory topic is
    /// finished when the future is first polled. See [`Encoded`] for `owner`.
    fn finish(&self, owner: Option<RunOwner>) -> Finishing<'_>;

    /// Finishes the topic after its run has failed. An in-memory topic is finished when the future
    /// is first polled. See [`Encoded`] for `owner`.
    fn fail(&self, failure: Arc<Failure>, owner: Option<RunOwner>) -> Finishing<'_>;

    /// Waits until the back end has received every event that was stored before this call.
    fn catch_up(&self) -> BoxFuture<'_, Result<(), OpenError>> {
        Box::pin(ready(Ok(())))
    }

    /// Returns whether the back end still holds every event that was published to the topic.
    fn holds_everything(&self) -> bool;

    /// Completes once another process has ended the topic's run. Never completes if only this
    /// process can end the topic.
    fn ended_elsewhere(&self) -> BoxFuture<'_, ()> {
        Box::pin(pending())
    }

    /// Returns the name to include in the ids that clients receive, if any.
    fn name_in_ids(&self) -> Option<&str> {
        None
    }

    /// Returns whether nothing has ever been published to the topic.
    fn is_new(&self) -> bool;

    fn is_finished(&self) -> bool;
}

/// A cursor into a topic. Readers do not have their own event queues.
pub(crate) trait Reader<T>: fmt::Debug + Send {
    /// Reads the next events.
    ///
    /// # Cancel safety
    ///
    /// No event is lost. Events not returned by this call are returned by a later one.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Read<T>>;

    /// Takes the initial gap, if any. Unlike later gaps, the initial gap is known before the first
    /// read, and [`position`](Self::position) already points past it. If the initial gap is not
    /// taken, the first read returns it.
    fn take_gap(&mut self) -> Option<Gap>;

    /// Returns the id of the position after the last event read.
    fn position(&self) -> EventId;

    /// Returns whether the client has already received the end of every topic being read.
    fn is_done(&self) -> bool;

    /// Returns whether any run being read has failed.
    fn has_failed(&self) -> bool;
}
