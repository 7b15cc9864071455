//! [`Subscription`]: a reader of a topic, in an endpoint or elsewhere.

use std::{
    fmt,
    future::poll_fn,
    ops::Deref,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::task::coop;
use tokio_stream::Stream;

use super::{
    backend::{Delivery, Read, Reader},
    batch::Batch,
};
use crate::{
    event::{event::Event, frame::EncodeError, gap::Gap, id::EventId},
    generator::{
        handoff::Handoff,
        outgoing::{Next, Outgoing, Stop},
        reading::{Reading, TopicEnd},
        yielder::{Item, Part, Yield, kind},
    },
};

/// A reader of a [`Topic`](super::Topic): a stream of its [`Update`]s.
///
/// In an endpoint, the client automatically receives gaps (see [`Gap`]) and the end of a topic that
/// was [finished](super::Topic::finish). After that end, it does not reconnect. Elsewhere, use
/// [`recv`](Self::recv), which returns gaps; [`next`](Self::next) attaches a gap to the following
/// update, so that the client to which that update is sent receives both.
///
/// Polling for the next update acknowledges the previous one, whether or not it was yielded. If the
/// last updates were not sent, the keep-alive of a quiet stream carries the id of the last one, so
/// that a client that receives few of a topic's events does not reconnect with an outdated id.
pub struct Subscription<T> {
    reader: Box<dyn Reader<T>>,
    /// The batch that was read, until all of it has been handed out.
    batch: Option<Arc<Batch<T>>>,
    /// The number of events of the batch that have been handed out.
    handed_out: usize,
    /// Whether more events follow the batch.
    more: bool,
    /// Whether the last read returned every available event and registered the waker for the next
    /// one.
    waits: bool,
    /// The id after everything that was handed out.
    position: EventId,
    /// Whether the endpoint's stream already knows the position.
    is_told: bool,
    /// The registration with the endpoint's stream. How that stream ends depends on how this
    /// subscription ends.
    reading: Option<Reading>,
    /// A gap to attach to the next update, because there is no endpoint stream to write it to.
    untold: Option<Box<Gap>>,
    /// Whether the start was derived from the client's id, or from its absence. Such a client must
    /// receive an id to reconnect with.
    is_resumed: bool,
    has_ended: bool,
    has_failed: bool,
}

/// An event of a topic, as one subscription reads it: its value, and its bytes, which were encoded
/// when it was published.
///
/// In a stream of `T`, `yield_!` takes an update or a reference to one, and sends its id too. It
/// also takes the `T` in the update, as in `yield_!(&*update)`, but then the event has no id, and a
/// client cannot resume after it.
pub struct Update<T> {
    delivery: Delivery<T>,
    /// Whether more updates can be read without waiting.
    more: bool,
    /// A gap to write before the update.
    gap: Option<Box<Gap>>,
}

impl<T> Subscription<T> {
    pub(crate) fn new(reader: Box<dyn Reader<T>>, is_resumed: bool) -> Self {
        let position = reader.position();
        if is_resumed {
            Handoff::with_current(|handoff| {
                handoff.lock().ids.starts_at(&position);
                handoff.lock().judge(reader.is_done());
            });
        }
        Self {
            position,
            reader,
            batch: None,
            handed_out: 0,
            more: false,
            waits: false,
            is_told: false,
            // Registered at once, so that the stream knows of the topic even if the subscription is
            // dropped before it is polled, as in a `select!` that another branch wins.
            reading: Handoff::with_current(Handoff::read_topic),
            untold: None,
            is_resumed,
            has_ended: false,
            has_failed: false,
        }
    }

    /// Sends the start position to the client, because the id that the client sent lacks a topic.
    pub(crate) fn tell_position(&self) {
        Handoff::with_current(|handoff| handoff.lock().ids.starts_anew_at(&self.position));
    }

    /// Returns the next update, or `None` when the topic is finished.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Update<T>> {
        poll_fn(|cx| self.poll_update(cx)).await
    }

    /// Returns the next update, or the gap before it. The client does not receive a gap that is
    /// returned here.
    ///
    /// # Errors
    ///
    /// Returns a [`Gap`] if events are missing. The next call continues after it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<Result<Update<T>, Gap>> {
        // A gap that `next` has read and could not attach to an update yet.
        if let Some(untold) = self.untold.take() {
            return Some(Err(*untold));
        }
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Returns the id after all updates returned so far. Directly after
    /// [`subscribe`](super::Topic::subscribe), it is the id for a snapshot taken at that moment:
    /// the subscription continues with the events published after it.
    ///
    /// ```
    /// # use sse_runtime::{Event, Start, Stream, Topic, sse_endpoint};
    /// # use axum::extract::State;
    /// # fn snapshot() -> u64 { 7 }
    /// #[sse_endpoint("/total")]
    /// async fn total(State(changes): State<Topic<u64>>) -> impl Stream<Item = u64> {
    ///     let updates = changes.subscribe(Start::Now);
    ///     yield_!(Event::json(snapshot()).id(updates.position()));
    ///     yield_all!(updates);
    /// }
    /// ```
    pub fn position(&self) -> EventId {
        self.position.clone()
    }

    /// Returns whether the subscription has ended because its [run](super::Hub::spawn) has returned
    /// an error, panicked or been [abandoned](super::HubBuilder::abandon_after). It is `false`
    /// until all updates have been read, after a run that returned without an error, and after
    /// [`Hub::abort`](super::Hub::abort).
    ///
    /// In an endpoint, the stream then ends with the error automatically, at the handler's next
    /// `yield_!` at the latest. Use this method in other readers, or in a handler that returns an
    /// error of its own: `yield_all!(&mut run); if run.has_failed() { return Err(…); }`.
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Keeps only the updates for which `filter` returns `true`. Gaps are still reported.
    /// [`Start::Latest`](super::Start::Latest) counts events before the filter.
    pub fn filter<F>(self, filter: F) -> Filter<T, F>
    where
        F: FnMut(&T) -> bool,
    {
        Filter {
            updates: self,
            filter,
        }
    }

    /// Maps each update to an event with the value that `view` returns, and with the update's id.
    /// The value is serialised for each reader.
    pub fn map<U, F>(self, view: F) -> Map<Self, F>
    where
        F: FnMut(&T) -> U,
    {
        Map {
            updates: self,
            view,
        }
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Update<T>, Gap>>> {
        self.waits = false;
        loop {
            if let Some(delivery) = self.take_next() {
                let more = self.more_follow();
                return Poll::Ready(Some(Ok(self.hand_out(delivery, more))));
            }
            if self.has_ended {
                return Poll::Ready(None);
            }
            if self.reading.is_none() {
                self.reading = Handoff::with_current(Handoff::read_topic);
            }
            let Poll::Ready(read) = self.reader.poll_read(cx) else {
                if self.is_resumed && !self.is_told {
                    let tell = |handoff: &Handoff| handoff.lock().ids.has_read_to(&self.position);
                    self.is_told = Handoff::with_current(tell).is_some();
                }
                return Poll::Pending;
            };
            match read {
                Read::Event { delivery, waits } => {
                    self.waits = waits;
                    return Poll::Ready(Some(Ok(self.hand_out(delivery, false))));
                }
                Read::Events { batch, more, waits } => {
                    self.batch = Some(batch);
                    self.handed_out = 0;
                    self.more = more;
                    self.waits = waits;
                }
                Read::Gap(gap) => {
                    self.position = gap.position.clone();
                    self.is_told = false;
                    return Poll::Ready(Some(Err(gap)));
                }
                Read::Lagged => {
                    self.end(TopicEnd::Lagged);
                }
                Read::End => {
                    self.end(TopicEnd::Over);
                }
                Read::Failed(failure) => {
                    self.has_failed = !failure.is_stop;
                    if let Some(reading) = &mut self.reading {
                        reading.fails(failure);
                    }
                    self.end(TopicEnd::Over);
                }
            }
        }
    }

    /// Writes the next update, and those that were read together with it, until the frames are
    /// full. This takes the lock once, and writes a whole batch in one piece, without a copy.
    /// Returns whether the generator has to stop afterwards, or `None` when the topic is finished.
    ///
    /// The resulting state is the same as after a `yield_!` of each update.
    pub(crate) fn poll_push(
        &mut self,
        handoff: &Handoff,
        cx: &mut Context<'_>,
    ) -> Poll<Option<bool>> {
        let Some(mut update) = ready!(self.poll_update(cx)) else {
            return Poll::Ready(None);
        };
        let mut waits = self.waits;
        let stop = handoff.write(|outgoing| {
            let mut events = 1;
            let is_whole = self.handed_out == 1 && update.gap.is_none();
            if let Some(batch) = self.batch.take_if(|_| is_whole) {
                outgoing.frames.share(batch.frames());
                events = batch.deliveries().len();
                update.delivery.clone_from(&batch.deliveries()[events - 1]);
            } else {
                update.put_into(outgoing);
                while !outgoing.frames.is_full()
                    && let Some(delivery) = self.take_next()
                {
                    delivery.put_into(outgoing);
                    events += 1;
                    update.delivery = delivery;
                }
            }
            update.more = self.more_follow();
            waits &= !update.more;
            self.position = update.id().clone();
            outgoing.wrote_together(events as u64, Some(update.id().clone()));
            outgoing.followed_by(if waits { Next::Wait } else { update.next() });
            Ok(())
        });
        // The stream knows the position from the id of the event that was written last.
        self.is_told = true;
        Poll::Ready(Some(stop == Stop::UntilTaken || waits))
    }

    /// Takes the next event of the batch.
    fn take_next(&mut self) -> Option<Delivery<T>> {
        let deliveries = self.batch.as_ref()?.deliveries();
        let delivery = deliveries.get(self.handed_out)?.clone();
        self.handed_out += 1;
        if self.handed_out == deliveries.len() {
            // Release the batch, so that a reader that waits does not hold it.
            self.batch = None;
        }
        Some(delivery)
    }

    /// Returns whether more events can be read without waiting.
    fn more_follow(&self) -> bool {
        self.batch.is_some() || self.more
    }

    fn hand_out(&mut self, delivery: Delivery<T>, more: bool) -> Update<T> {
        self.position = delivery.id().clone();
        self.is_told = false;
        Update {
            delivery,
            more,
            gap: None,
        }
    }

    fn end(&mut self, end: TopicEnd) {
        self.has_ended = true;
        if self.is_resumed {
            Handoff::with_current(|handoff| {
                handoff.lock().judge(self.reader.is_done());
                handoff.lock().ids.ends_at(&self.position);
            });
        }
        if let Some(reading) = &mut self.reading {
            reading.end(end);
        }
    }

    #[inline(always)]
    fn poll_update(&mut self, cx: &mut Context<'_>) -> Poll<Option<Update<T>>> {
        loop {
            match ready!(self.poll_recv(cx)) {
                None => return Poll::Ready(None),
                Some(Ok(mut update)) => {
                    update.gap = self.untold.take();
                    return Poll::Ready(Some(update));
                }
                Some(Err(gap)) => {
                    let gap = gap.behind(self.untold.take());
                    if Handoff::with_current(|handoff| handoff.write_gap(&gap)).is_none() {
                        self.untold = Some(Box::new(gap));
                    }
                }
            }
        }
    }
}

impl<T, E> Part<'_, T, Subscription<T>, E> {
    /// Pushes all updates like
    /// [`ItemByItem::push_all`](crate::generator::yielder::ItemByItem::push_all), but writes those
    /// that can be read together at once.
    pub fn push_all(mut self) -> Self {
        self.push_next = |yielder, updates, cx| {
            let pushed = updates.get_mut().poll_push(&yielder.handoff, cx);
            pushed.map(|pushed| pushed.map(Ok))
        };
        self
    }
}

impl<T> Stream for Subscription<T> {
    type Item = Update<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Update<T>>> {
        self.poll_update(cx)
    }
}

// No field is pinned structurally.
impl<T> Unpin for Subscription<T> {}

impl<T> fmt::Debug for Subscription<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl<T> Clone for Update<T> {
    fn clone(&self) -> Self {
        Self {
            delivery: self.delivery.clone(),
            more: self.more,
            gap: self.gap.clone(),
        }
    }
}

impl<T> Update<T> {
    /// Returns the id.
    pub fn id(&self) -> &EventId {
        self.delivery.id()
    }

    fn next(&self) -> Next {
        if self.more {
            Next::Others
        } else {
            Next::Unknown
        }
    }

    /// Writes the frame, after the gap if there is one.
    fn put_into(&self, outgoing: &mut Outgoing) {
        if let Some(gap) = &self.gap {
            outgoing.write_gap(gap);
        }
        self.delivery.put_into(outgoing);
    }
}

impl<T> Deref for Update<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.delivery
    }
}

impl<T: fmt::Debug> fmt::Debug for Update<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Update")
            .field("id", self.id())
            .field("value", &**self)
            .finish_non_exhaustive()
    }
}

#[diagnostic::do_not_recommend]
impl<T> Yield<T, kind::Shared> for Update<T> {
    fn write_to(self, outgoing: &mut Outgoing, item: &Item<T>) -> Result<(), EncodeError> {
        (&self).write_to(outgoing, item)
    }
}

#[diagnostic::do_not_recommend]
impl<T> Yield<T, kind::SharedReference> for &Update<T> {
    fn write_to(self, outgoing: &mut Outgoing, _: &Item<T>) -> Result<(), EncodeError> {
        self.put_into(outgoing);
        outgoing.wrote(Some(self.id().clone()));
        outgoing.followed_by(self.next());
        Ok(())
    }
}

/// The updates of a subscription that pass a filter; see [`Subscription::filter`].
pub struct Filter<T, F> {
    updates: Subscription<T>,
    filter: F,
}

impl<T, F: FnMut(&T) -> bool> Filter<T, F> {
    /// Returns the next update that passes the filter, or `None` when the topic is finished.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Update<T>> {
        poll_fn(|cx| self.poll_update(cx)).await
    }

    /// Returns the position, as [`Subscription::position`] does: after all updates read, including
    /// those that did not pass the filter.
    pub fn position(&self) -> EventId {
        self.updates.position()
    }

    /// Maps the updates, as [`Subscription::map`] does.
    pub fn map<U, V>(self, view: V) -> Map<Self, V>
    where
        V: FnMut(&T) -> U,
    {
        Map {
            updates: self,
            view,
        }
    }

    #[inline(always)]
    fn poll_update(&mut self, cx: &mut Context<'_>) -> Poll<Option<Update<T>>> {
        loop {
            match ready!(self.updates.poll_update(cx)) {
                Some(update) if !(self.filter)(&update) => {
                    // Attach the gap to the next update instead.
                    if update.gap.is_some() {
                        self.updates.untold = update.gap;
                    }
                    // Yield to the runtime now and then, however fast events are published, so that
                    // other tasks run and the end of the stream is noticed.
                    ready!(coop::poll_proceed(cx)).made_progress();
                }
                passed => return Poll::Ready(passed),
            }
        }
    }
}

impl<T, F: FnMut(&T) -> bool> Stream for Filter<T, F> {
    type Item = Update<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Update<T>>> {
        self.poll_update(cx)
    }
}

impl<T, F> Unpin for Filter<T, F> {}

impl<T, F> fmt::Debug for Filter<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Only").field(&self.updates).finish()
    }
}

/// The updates of a subscription, mapped to events of another type; see [`Subscription::map`].
pub struct Map<S, F> {
    updates: S,
    view: F,
}

impl<S, F> Map<S, F> {
    /// Returns the next event, or `None` when the topic is finished.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn next<T, U>(&mut self) -> Option<Event<U>>
    where
        S: Stream<Item = Update<T>> + Unpin,
        F: FnMut(&T) -> U,
    {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    fn poll_event<T, U>(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event<U>>>
    where
        S: Stream<Item = Update<T>> + Unpin,
        F: FnMut(&T) -> U,
    {
        let update = ready!(Pin::new(&mut self.updates).poll_next(cx));
        Poll::Ready(update.map(|update| {
            if let Some(gap) = &update.gap {
                // An `Event` cannot carry the gap.
                tracing::warn!(%gap, "a gap was not reported: outside of an endpoint, a mapped subscription drops it");
            }
            Event::json((self.view)(&update)).id(update.id().clone())
        }))
    }
}

impl<S, T, U, F> Stream for Map<S, F>
where
    S: Stream<Item = Update<T>> + Unpin,
    F: FnMut(&T) -> U,
{
    type Item = Event<U>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event<U>>> {
        self.poll_event(cx)
    }
}

impl<S, F> Unpin for Map<S, F> {}

impl<S: fmt::Debug, F> fmt::Debug for Map<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Map").field(&self.updates).finish()
    }
}
