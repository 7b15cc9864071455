//! The slot between the generator, which writes frames into it, and the body, which takes them out.
//!
//! Generator and body are polled by one task, one inside of the other, so the lock is never contended; it is what makes
//! the pair `Send` without `unsafe`.

use std::{
    cell::RefCell,
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{Bytes, BytesMut};

use crate::{
    config::{Endpoint, Flush},
    event::{
        frame::{self, EncodeError, Fields},
        gap::Gap,
        id::EventId,
    },
    generator::run_failure::Failure,
    lifecycle::close_reason::CloseReason,
};

/// How much is gathered under `flush = "ready"` before it is due.
pub(crate) const DUE: usize = 32 * 1024;

/// A buffer that grew beyond this is given up when it is taken: what is left of it would keep all of it alive, as long as
/// the stream lives.
const LARGE: usize = 64 * 1024;

/// From this size on what was taken at once was a burst, whose buffer is given up when it is over: the stream may be quiet for
/// hours.
const BURST: usize = 8 * 1024;

/// From this size on it is cheaper to share a frame than to copy it, in bytes.
pub(crate) const SHARED: usize = 4 * 1024;

#[derive(Clone, Debug)]
pub(crate) struct Channel(Arc<Mutex<Outgoing>>);

/// What the generator has written and the body has not taken yet.
#[derive(Debug)]
pub struct Outgoing {
    pub(crate) buffer: BytesMut,
    /// What comes before the buffer: large frames that others have as well, and what was written before them.
    #[expect(clippy::box_collection, reason = "most streams never have any")]
    ahead: Option<Box<VecDeque<Bytes>>>,
    /// A frame that others have as well, and that is all there is: most streams of a topic never need a buffer.
    lone: Option<Bytes>,
    /// A part of it was taken, and the rest is to follow.
    rest_is_due: bool,
    /// The buffer is as large as for a burst.
    has_burst: bool,
    pub(crate) last_id: Option<EventId>,
    flush: Flush,
    begun: bool,
    failure: Option<WriteFailure>,
    /// The events `gap` may be written.
    sends_gaps: bool,
    /// Frames that hold only an id may be written.
    sends_bare_ids: bool,
    /// A response that was cut breaks off.
    aborts_when_cut: bool,
    /// Events that were written and not taken yet.
    events: u64,
    next: Next,
    /// The generator has stopped, or is about to, for what is written to be taken. Nothing else wakes it.
    stops: bool,
    /// How far a topic was read, where that is further than what was sent of it.
    read_to: Option<EventId>,
    /// Where the client begins to read a topic, which it has to know to come back, until something else gives it an id.
    starts_at: Option<Box<EventId>>,
    /// The ids are the handler's own, and not those of a topic.
    has_own_ids: bool,
    topics: Topics,
    returning: Returning,
}

/// What to send to a client that reconnects with the `Last-Event-ID` header of a stream that is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Returning {
    /// What the generator does, as any other client. The client has sent no such id, or one of
    /// another topic.
    #[default]
    Reads,
    /// Nothing has asked for the id so far.
    Unknown,
    /// A `204`: the id is of the topic that is read.
    Stops,
}

/// Why nothing more can be written.
#[derive(Debug)]
pub(crate) enum WriteFailure {
    Encode(EncodeError),
    /// Events are missing, and the endpoint sends only what its function yields.
    // In a box, since few streams ever have one.
    Gap(Box<Gap>),
    /// A run that the stream reads has failed, and the generator has yielded since.
    Run(Arc<Failure>),
}

impl WriteFailure {
    /// Why the stream ends.
    pub(crate) fn reason(&self) -> CloseReason {
        match self {
            Self::Encode(_) | Self::Gap(_) => CloseReason::Failed,
            Self::Run(failure) => failure.reason,
        }
    }
}

/// What comes behind what was written last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Whatever the generator does.
    Unknown,
    /// Others, at once, and it goes out with them.
    Others,
    /// Whoever wrote it waits for more, and is woken when there is.
    Wait,
}

/// What was taken behind a poll of the generator.
#[derive(Debug)]
pub(crate) struct Taken {
    /// Empty where nothing was written.
    pub(crate) bytes: Bytes,
    pub(crate) events: u64,
    /// The generator waits for something that wakes it, so there is no need to poll it again before that.
    pub(crate) waits: bool,
}

/// Whether a generator stops after what it has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stop {
    No,
    /// Until the body has taken it.
    UntilTaken,
    /// Only for this turn: nothing was written, at least nothing into the buffer, so that a loop of this would never stop.
    Yields,
}

/// A frame that is being written. A user's `Serialize` runs meanwhile: a topic that it reads is not read in this stream, and
/// finds no channel.
struct Writing<'a> {
    /// How much was in the buffer before, and there is nothing after it.
    before: usize,
    outgoing: MutexGuard<'a, Outgoing>,
    _hidden: Entered,
}

impl Writing<'_> {
    // Taken apart, so that the drop of each part is inlined.
    #[inline]
    fn end(self, written: Result<(), EncodeError>) -> Stop {
        let Self {
            before,
            mut outgoing,
            _hidden,
        } = self;
        match written {
            Err(error) => {
                outgoing.failure = Some(WriteFailure::Encode(error));
                outgoing.stops = true;
                Stop::UntilTaken
            }
            Ok(()) if outgoing.buffer.len() == before && outgoing.lone.is_none() => Stop::Yields,
            Ok(()) if outgoing.has_to_stop() => Stop::UntilTaken,
            Ok(()) => Stop::No,
        }
    }
}

/// What has become of the topics that the generator reads, or has read.
#[derive(Debug, Default)]
struct Topics {
    /// Some are read that have not ended.
    reading: u32,
    /// One was left before its end.
    was_left: bool,
    /// One has ended, and there will never be more of it.
    is_over: bool,
    /// One was too slow, and none was begun since.
    lags: bool,
    /// Why the run of one has failed, which is how the stream ends.
    failure: Option<Arc<Failure>>,
}

/// A topic that the generator reads.
#[derive(Debug)]
pub(crate) struct Reading {
    channel: Channel,
    has_ended: bool,
}

impl Reading {
    pub(crate) fn end(&mut self, end: TopicEnd) {
        if mem::replace(&mut self.has_ended, true) {
            return;
        }
        let topics = &mut self.channel.lock().topics;
        topics.reading -= 1;
        match end {
            TopicEnd::Over => topics.is_over = true,
            TopicEnd::Lagged => topics.lags = true,
        }
    }
}

impl Reading {
    /// The run of the topic has failed, or was stopped.
    #[cold]
    pub(crate) fn fails(&self, failure: Arc<Failure>) {
        let mut outgoing = self.channel.lock();
        if !failure.is_stop || outgoing.aborts_when_cut {
            outgoing.topics.failure.get_or_insert(failure);
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if !self.has_ended {
            let topics = &mut self.channel.lock().topics;
            topics.reading -= 1;
            topics.was_left = true;
        }
    }
}

/// How the reading of a topic ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopicEnd {
    /// There will never be more.
    Over,
    /// What comes next has to be asked for anew.
    Lagged,
}

impl Outgoing {
    /// An event is written.
    pub(crate) fn wrote(&mut self, id: Option<EventId>) {
        self.wrote_together(1, id);
    }

    /// So many events are written, the last of them with this id.
    pub(crate) fn wrote_together(&mut self, events: u64, id: Option<EventId>) {
        self.events += events;
        self.remember(id);
    }

    /// Writes a frame that others have as well. A large one is not copied: those who are slow to take it hold it together;
    /// nor is one that nothing comes before.
    // Inlined with what it calls, as far as it is a copy: there may be nothing else for an event of a topic.
    #[inline]
    pub(crate) fn share(&mut self, frame: &Bytes) {
        self.accompany();
        if frame.len() < SHARED && !self.buffer.is_empty() {
            self.buffer.extend_from_slice(frame);
        } else {
            self.share_apart(frame);
        }
    }

    /// The same of a frame that is large, or the first.
    fn share_apart(&mut self, frame: &Bytes) {
        if self.ahead.is_none() && self.buffer.is_empty() {
            self.lone = Some(frame.clone());
            return;
        }
        if frame.len() < SHARED {
            self.buffer.extend_from_slice(frame);
            return;
        }
        let ahead = self.ahead.get_or_insert_default();
        if !self.buffer.is_empty() {
            self.has_burst |= self.buffer.len() > BURST;
            ahead.push_back(self.buffer.split().freeze());
        }
        ahead.push_back(frame.clone());
    }

    /// Lets something follow a lone frame: small ones go out together.
    #[inline]
    fn accompany(&mut self) {
        if self.lone.is_some() {
            self.keep_lone();
        }
    }

    fn keep_lone(&mut self) {
        if let Some(lone) = self.lone.take() {
            if lone.len() < SHARED {
                self.buffer.extend_from_slice(&lone);
            } else {
                self.ahead.get_or_insert_default().push_back(lone);
            }
        }
    }

    /// Whether there is nothing to take. A frame without fields does not count: if the generator stopped for one, nothing would
    /// wake it.
    #[inline]
    fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.lone.is_none() && self.ahead.is_none()
    }

    #[inline]
    fn len(&self) -> usize {
        let ahead = self.ahead.iter().flat_map(|ahead| ahead.iter());
        let ahead: usize = ahead.map(Bytes::len).sum();
        self.lone.as_ref().map_or(0, Bytes::len) + ahead + self.buffer.len()
    }

    /// Whether so much is written that it has to be taken before there is more.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.len() >= DUE
    }

    /// Stops the generator. What follows half an answer would make it look complete, so a run that has failed is the stream's
    /// failure from here on.
    #[cold]
    fn refuse_write(&mut self) {
        if self.failure.is_none() {
            self.failure = self.topics.failure.take().map(WriteFailure::Run);
        }
        self.stops = true;
    }

    #[inline]
    fn has_failure(&self) -> bool {
        self.failure.is_some() || self.topics.failure.is_some()
    }

    fn take(&mut self) -> (Bytes, u64) {
        // Where a part is taken, the rest comes next, and its events are counted now.
        let taken = match self.lone.take().or_else(|| self.take_ahead()) {
            Some(shared) => shared,
            // To split what is empty would cost an allocation, each time that a generator waits.
            None if self.buffer.is_empty() => Bytes::new(),
            None => {
                let taken = self.buffer.split();
                self.has_burst |= taken.len() > BURST;
                if taken.len() > LARGE {
                    self.buffer = BytesMut::new();
                }
                taken.freeze()
            }
        };
        self.rest_is_due = self.ahead.is_some() || !self.buffer.is_empty();
        (taken, mem::take(&mut self.events))
    }

    fn take_ahead(&mut self) -> Option<Bytes> {
        let ahead = self.ahead.as_mut()?;
        let next = ahead.pop_front();
        if ahead.is_empty() {
            self.ahead = None;
        }
        next
    }

    /// Writes the event `gap`. The stream fails if its endpoint does not send such events.
    #[cold]
    pub(crate) fn write_gap(&mut self, gap: &Gap) {
        if self.sends_gaps {
            self.accompany();
            gap.put_into(&mut self.buffer);
            self.wrote(Some(gap.position().clone()));
        } else if self.failure.is_none() {
            self.failure = Some(WriteFailure::Gap(Box::new(gap.clone())));
        }
    }

    /// Gives an id to a client that has none, and has nothing of the topic yet: whoever loses it now has a place to come back
    /// to. It is the place where reading began, and so right whatever was read since.
    fn tell_start(&mut self) {
        if let Some(start) = self.starts_at.take()
            && self.sends_bare_ids
        {
            let fields = Fields {
                id: Some((*start).clone()),
                ..Fields::default()
            };
            frame::bare_frame(&mut self.buffer, &fields);
            self.read_to = self.read_to.take().filter(|read_to| *read_to != *start);
            self.last_id = Some(*start);
        }
    }

    pub(crate) fn followed_by(&mut self, next: Next) {
        self.next = next;
    }

    /// Whether the generator has to stop until the body has taken what is written. It is to stop then, and goes on only when it
    /// is polled again.
    #[inline]
    fn has_to_stop(&mut self) -> bool {
        let is_due = match (self.next, self.flush) {
            (Next::Wait, _) => false,
            (Next::Unknown, Flush::Each) => true,
            (Next::Others, Flush::Each) | (_, Flush::Ready) => self.is_full(),
        };
        self.stops |= is_due;
        is_due
    }

    /// The id that a frame has set stays with the client until another does.
    #[inline]
    pub(crate) fn remember(&mut self, id: Option<EventId>) {
        if let Some(id) = id {
            self.remember_id(id);
        }
    }

    fn remember_id(&mut self, id: EventId) {
        self.has_own_ids = !id.is_of_topic();
        self.starts_at = None;
        self.last_id = Some(id);
        // The client stands here now, which may be further.
        self.read_to = None;
    }
}

impl Channel {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Outgoing {
            buffer: BytesMut::new(),
            ahead: None,
            lone: None,
            rest_is_due: false,
            has_burst: false,
            last_id: None,
            flush: Flush::default(),
            begun: false,
            failure: None,
            sends_gaps: true,
            sends_bare_ids: true,
            aborts_when_cut: false,
            events: 0,
            next: Next::Unknown,
            stops: false,
            read_to: None,
            starts_at: None,
            has_own_ids: false,
            topics: Topics::default(),
            returning: Returning::default(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Outgoing> {
        // A user's `Serialize` may panic in here. The frame that it was writing is taken back, so a poisoned lock still
        // guards whole frames.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the request and the attribute say, before the generator is polled for the first time.
    pub(crate) fn open(&self, endpoint: &Endpoint, last_id: Option<EventId>) {
        let mut outgoing = self.lock();
        outgoing.flush = endpoint.flush;
        outgoing.sends_gaps = endpoint.sends_framework_events();
        outgoing.sends_bare_ids = endpoint.sends_bare_ids();
        outgoing.aborts_when_cut = endpoint.aborts_when_cut();
        outgoing.last_id = last_id;
    }

    /// Marks that the response begins here.
    pub(crate) fn begin(&self) {
        self.lock().begun = true;
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.lock().begun
    }

    /// Whether the generator has stopped for the body to take what it has written.
    pub(crate) fn has_stopped(&self) -> bool {
        self.lock().stops
    }

    /// The client returns with the header of a stream that is over.
    pub(crate) fn open_for_done(&self) {
        self.lock().returning = Returning::Unknown;
    }

    pub(crate) fn returning(&self) -> Returning {
        self.lock().returning
    }

    /// Whether anything was written.
    pub(crate) fn is_written_to(&self) -> bool {
        !self.lock().is_empty()
    }

    /// A topic is read from where the client's id says. `is_done` says that the client has received
    /// the end of that topic.
    pub(crate) fn judges(&self, is_done: bool) {
        let returning = &mut self.lock().returning;
        if *returning == Returning::Unknown {
            *returning = match is_done {
                true => Returning::Stops,
                false => Returning::Reads,
            };
        }
    }

    /// A topic has ended here. A client that still has to learn where it stands needs this id, to be
    /// stopped when it returns.
    pub(crate) fn ends_at(&self, position: &EventId) {
        let mut outgoing = self.lock();
        if outgoing.starts_at.take().is_some() || outgoing.last_id.is_none() {
            outgoing.last_id = Some(position.clone());
        }
    }

    /// Whether there is anything to respond with: something that was yielded, a gap that the client should receive, or a
    /// failure. For a client that has already received the end of the stream, the mere start of a stream does not count.
    pub(crate) fn has_content(&self) -> bool {
        let outgoing = self.lock();
        let begins = outgoing.begun && outgoing.returning != Returning::Unknown;
        begins || !outgoing.is_empty() || outgoing.has_failure()
    }

    /// Whether a value could not be sent, or a run that is read has failed.
    pub(crate) fn has_failure(&self) -> bool {
        self.lock().has_failure()
    }

    /// Lets `write` add a frame, and says whether the generator has to stop after it. After a failure, or after a run that
    /// the stream reads has failed, nothing is added any more.
    pub(crate) fn write(
        &self,
        write: impl FnOnce(&mut Outgoing) -> Result<(), EncodeError>,
    ) -> Stop {
        let Some(mut writing) = self.start_write() else {
            return Stop::UntilTaken;
        };
        let written = write(&mut writing.outgoing);
        writing.end(written)
    }

    /// Lets `write` add the error that the stream ends with, also after a run that it reads has failed.
    pub(crate) fn write_error(&self, write: impl FnOnce(&mut Outgoing) -> Result<(), EncodeError>) {
        self.lock().topics.failure = None;
        self.write(write);
    }

    /// Lets `write` add the last frame of the stream, also after a failure.
    pub(crate) fn write_last(&self, write: impl FnOnce(&mut Outgoing)) {
        let mut outgoing = self.lock();
        outgoing.accompany();
        write(&mut outgoing);
    }

    // Apart from `write`, of which there is one for each endpoint.
    fn start_write(&self) -> Option<Writing<'_>> {
        let hidden = Entered(CURRENT.take());
        let mut outgoing = self.lock();
        outgoing.begun = true;
        if outgoing.has_failure() {
            outgoing.refuse_write();
            return None;
        }
        outgoing.accompany();
        outgoing.next = Next::Unknown;
        Some(Writing {
            before: outgoing.buffer.len(),
            outgoing,
            _hidden: hidden,
        })
    }

    /// Counts what is written and not taken, events and bytes. The events are not counted again when they are taken.
    pub(crate) fn count_rest(&self) -> (u64, usize) {
        let mut outgoing = self.lock();
        (mem::take(&mut outgoing.events), outgoing.len())
    }

    /// Takes the whole frames that were written since the last time, and says how many events they are; empty where there
    /// are none.
    pub(crate) fn take(&self) -> (Bytes, u64) {
        self.lock().take()
    }

    /// What there is to do behind a poll of the generator that did not end it: to take what it has written, unless a value
    /// could not be sent.
    pub(crate) fn take_unless_failed(&self) -> Result<Taken, WriteFailure> {
        let mut outgoing = self.lock();
        if let Some(failure) = outgoing.failure.take() {
            return Err(failure);
        }
        outgoing.tell_start();
        let (bytes, events) = outgoing.take();
        let waits = !outgoing.stops && !outgoing.rest_is_due;
        if waits && mem::take(&mut outgoing.has_burst) {
            outgoing.buffer = BytesMut::new();
        }
        Ok(Taken {
            bytes,
            events,
            waits,
        })
    }

    /// Takes what is left of what was written together, if there is something: it goes out before the generator goes on, which
    /// it does otherwise.
    pub(crate) fn take_rest(&self) -> Option<Bytes> {
        let mut outgoing = self.lock();
        if outgoing.rest_is_due {
            return Some(outgoing.take().0);
        }
        outgoing.stops = false;
        None
    }

    /// Lets whatever the generator polls find the channel, until the guard is dropped.
    pub(crate) fn enter(&self) -> Entered {
        Entered(CURRENT.replace(Some(self.clone())))
    }

    /// The channel of the stream whose generator is being polled, if one is.
    pub(crate) fn with_current<R>(use_it: impl FnOnce(&Self) -> R) -> Option<R> {
        CURRENT.with_borrow(|current| current.as_ref().map(use_it))
    }

    /// Writes the event `gap`, see [`Outgoing::write_gap`].
    pub(crate) fn tell(&self, gap: &Gap) {
        self.lock().write_gap(gap);
    }

    /// A topic was read up to here, and there is nothing behind it yet.
    pub(crate) fn has_read_to(&self, position: &EventId) {
        let mut outgoing = self.lock();
        outgoing.read_to = match &outgoing.last_id {
            Some(last) if last == position || outgoing.has_own_ids => None,
            _ => Some(position.clone()),
        };
    }

    /// Takes the id that the client does not know of yet.
    pub(crate) fn take_read_to(&self) -> Option<EventId> {
        let mut outgoing = self.lock();
        if !outgoing.sends_bare_ids {
            return None;
        }
        let read_to = outgoing.read_to.take()?;
        outgoing.last_id = Some(read_to.clone());
        Some(read_to)
    }

    /// A topic is read from this place on, as the client's id says, or would say.
    pub(crate) fn starts_at(&self, position: &EventId) {
        let mut outgoing = self.lock();
        if outgoing.last_id.is_none() && outgoing.starts_at.is_none() {
            outgoing.starts_at = Some(Box::new(position.clone()));
        }
    }

    /// The same, though the client has an id: it does not hold this place.
    pub(crate) fn starts_anew_at(&self, position: &EventId) {
        self.lock().starts_at = Some(Box::new(position.clone()));
    }

    /// A topic is read from here on.
    pub(crate) fn read_topic(&self) -> Reading {
        let topics = &mut self.lock().topics;
        topics.reading += 1;
        topics.lags = false;
        Reading {
            channel: self.clone(),
            has_ended: false,
        }
    }

    /// What the end of a generator means that has read topics: its stream is over for good only where all of them are, and it has
    /// read each to its end.
    /// A run that has failed is [`topic_failure`](Self::topic_failure).
    pub(crate) fn topic_end(&self) -> Option<TopicEnd> {
        let topics = &self.lock().topics;
        if topics.lags {
            return Some(TopicEnd::Lagged);
        }
        let is_over = topics.is_over && topics.reading == 0 && !topics.was_left;
        is_over.then_some(TopicEnd::Over)
    }

    /// Why the run of a topic that was read has failed.
    pub(crate) fn topic_failure(&self) -> Option<Arc<Failure>> {
        self.lock().topics.failure.clone()
    }

    /// Takes why nothing more can be written, if that is so.
    pub(crate) fn take_failure(&self) -> Option<WriteFailure> {
        self.lock().failure.take()
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Channel>> = const { RefCell::new(None) };
}

/// See [`Channel::enter`]; holds the channel that was the current one before.
#[derive(Debug)]
pub(crate) struct Entered(Option<Channel>);

impl Drop for Entered {
    fn drop(&mut self) {
        // `set` would look whether there is something to be set for the first time.
        drop(CURRENT.replace(self.0.take()));
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut as _;

    use super::*;

    fn write(channel: &Channel, len: usize) {
        channel.write(|outgoing| {
            // As a frame does that finds no room.
            outgoing.buffer.reserve(2 * len);
            outgoing.buffer.put_bytes(b'x', len);
            Ok(())
        });
    }

    #[test]
    fn a_large_event_does_not_stay_in_memory() {
        let channel = Channel::new();
        write(&channel, 10);
        assert_eq!(channel.take().0.len(), 10);
        assert!(
            channel.lock().buffer.capacity() > 0,
            "a small buffer is reused"
        );

        write(&channel, LARGE + 1);
        assert_eq!(channel.take().0.len(), LARGE + 1);
        assert_eq!(channel.lock().buffer.capacity(), 0);
    }

    #[test]
    fn a_burst_does_not_stay_in_memory_once_it_is_over() {
        let channel = Channel::new();
        let capacity = || channel.lock().buffer.capacity();
        write(&channel, DUE);
        let taken = channel.take_unless_failed().unwrap();
        assert_eq!((taken.bytes.len(), taken.waits), (DUE, false));
        assert!(capacity() > 0, "there may be more of it");

        // The generator goes on, writes what is left, and waits.
        assert!(channel.take_rest().is_none());
        write(&channel, 10);
        channel.lock().stops = false;
        let taken = channel.take_unless_failed().unwrap();
        assert_eq!((taken.bytes.len(), taken.waits), (10, true));
        assert_eq!(capacity(), 0);
    }

    #[test]
    fn nor_does_one_with_a_large_frame_behind_it() {
        let channel = Channel::new();
        write(&channel, BURST + 1);
        let large = Bytes::from(vec![b'x'; SHARED]);
        channel.write(|outgoing| {
            outgoing.share(&large);
            Ok(())
        });
        channel.lock().stops = false;
        assert_eq!(channel.take().0.len(), BURST + 1);
        let taken = channel.take_unless_failed().unwrap();
        assert_eq!((taken.bytes.len(), taken.waits), (SHARED, true));
        assert_eq!(channel.lock().buffer.capacity(), 0);
    }
}
