//! [`Subscription`]: a reader of a topic, in an endpoint or elsewhere.

mod adapters;
mod state;
mod update;

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio_stream::Stream;

use super::{
    backend::{Delivery, Read, Reader},
    metrics::count_gap,
};
use crate::{
    event::{gap::Gap, id::EventId},
    generator::{
        handoff::Handoff,
        outgoing::{Next, Stop},
        part::PushBatch,
        reading::{Reading, TopicEnd},
        yielder::Yielder,
    },
};
pub use adapters::{Filter, Map};
use state::State;
pub use update::Update;
pub(super) use update::read_held;

/// A reader of a [`Topic`](super::Topic). It is a stream of [`Update`]s.
///
/// In an endpoint, the client is automatically notified of gaps (see [`Gap`]) and of the end of a
/// [finished](super::Topic::finish) topic. Once the topic has ended, the client does not reconnect.
/// Elsewhere, use [`recv`](Self::recv), which returns gaps, or [`next`](Self::next), which attaches
/// each gap to the update that follows it. A client that receives this update also receives the
/// gap.
///
/// Polling for the next update marks the previous one as handled, even if it was not yielded. If
/// the most recent updates were not sent to the client, the next keep-alive contains the id of the
/// last one. As a result, even a client that receives few of the topic's events reconnects with a
/// recent id.
pub struct Subscription<T> {
    reader: Box<dyn Reader<T>>,
    state: State<T>,
    /// The id of the position after the last event handed out.
    position: EventId,
    report: Report,
    /// This subscription's registration with the endpoint's stream. How the subscription ends
    /// determines how the stream ends.
    reading: Option<Reading>,
    /// A gap read outside of an endpoint, where there is no stream to write it to. It is attached
    /// to the next update instead.
    unreported: Option<Box<Gap>>,
}

/// The value of `READS` if the caller uses the updates' values. An event that cannot be decoded is
/// then reported as a gap.
const VALUES: bool = true;

/// The value of `READS` if the caller only passes on the updates' frames.
const FRAMES: bool = false;

/// Whether the position has been reported to the endpoint's stream. Keep-alives contain the
/// reported position.
///
/// If the start position depends on the client's id, or on whether it has one, the stream must send
/// an id with which the client can reconnect, even if no events are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Report {
    /// The start position does not depend on the client's id.
    NotNeeded,
    /// The position has not been reported yet.
    Due,
    /// The position has been reported.
    Done,
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
            state: State::Idle(Next::Unknown),
            report: match is_resumed {
                true => Report::Due,
                false => Report::NotNeeded,
            },
            // Register the subscription immediately so that the topic counts as read by the stream
            // even if the subscription is dropped before it is polled. This happens, for example,
            // if another branch of a `select!` completes first.
            reading: Handoff::with_current(Handoff::read_topic),
            unreported: None,
        }
    }

    /// Sends the start position to the client, because the client's id does not cover every topic.
    pub(crate) fn send_position(&self) {
        Handoff::with_current(|handoff| handoff.lock().ids.restarts_at(&self.position));
    }

    /// Returns the next update, or `None` once the topic is finished.
    ///
    /// # Cancel safety
    ///
    /// No update is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Update<T>> {
        poll_fn(|cx| self.poll_update::<VALUES>(cx)).await
    }

    /// Returns the next update, or the gap that precedes it. A gap returned by this method is not
    /// sent to the client.
    ///
    /// # Errors
    ///
    /// Returns a [`Gap`] if events are missing. The next call continues after the gap.
    ///
    /// # Cancel safety
    ///
    /// No update is lost if the future is dropped.
    pub async fn recv(&mut self) -> Option<Result<Update<T>, Gap>> {
        // A gap that `next` has read but could not attach to an update yet.
        if let Some(unreported) = self.unreported.take() {
            return Some(Err(*unreported));
        }
        poll_fn(|cx| self.poll_recv::<VALUES>(cx)).await
    }

    /// Returns the id of the position after all updates returned so far. Immediately after you
    /// [subscribe](super::Topic::subscribe), this is the id to send with a snapshot of the current
    /// state, because the subscription continues with the events published after you subscribed.
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

    /// Returns whether the subscription ended because the topic's [run](super::Hub::spawn) returned
    /// an error, panicked or was [abandoned](super::HubBuilder::abandon_after). Returns `false`
    /// while there are updates left to read, if the run returned without an error, or if
    /// [`Hub::abort`](super::Hub::abort) stopped the run.
    ///
    /// In an endpoint, the stream automatically ends with the run's error, at the latest when the
    /// handler next calls `yield_!`. Use this method outside of endpoints, or in a handler that
    /// returns a different error, for example
    /// `yield_all!(&mut run); if run.has_failed() { return Err(…); }`.
    pub fn has_failed(&self) -> bool {
        matches!(self.state, State::Ended { has_failed: true })
    }

    /// Keeps only the updates for which `filter` returns `true`. Gaps are still reported.
    /// [`Start::Latest`](super::Start::Latest) counts events before they are filtered.
    pub fn filter<F>(self, filter: F) -> Filter<T, F>
    where
        F: FnMut(&T) -> bool,
    {
        Filter {
            updates: self,
            filter,
        }
    }

    /// Maps each update to an event with the value returned by `view` and the update's id. The
    /// value is serialized separately for every reader.
    pub fn map<U, F>(self, view: F) -> Map<Self, F>
    where
        F: FnMut(&T) -> U,
    {
        Map {
            updates: self,
            view,
        }
    }

    /// `READS` is either [`VALUES`] or [`FRAMES`].
    fn poll_recv<const READS: bool>(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Update<T>, Gap>>> {
        self.state.forget_waker();
        loop {
            if let Some(delivery) = self.state.take_next() {
                return Poll::Ready(Some(self.hand_out_if::<READS>(delivery)));
            }
            if let State::Ended { .. } = self.state {
                return Poll::Ready(None);
            }
            if self.reading.is_none() {
                self.reading = Handoff::with_current(Handoff::read_topic);
            }
            let Poll::Ready(read) = self.reader.poll_read(cx) else {
                self.report_position();
                return Poll::Pending;
            };
            match read {
                Read::Event { delivery, waits } => {
                    self.state = State::Idle(state::next(false, waits));
                    return Poll::Ready(Some(self.hand_out_if::<READS>(delivery)));
                }
                Read::Events { batch, more, waits } => {
                    self.state = State::Batch {
                        batch,
                        handed_out: 0,
                        next: state::next(more, waits),
                    };
                }
                Read::Gap(gap) => {
                    count_gap(gap.reason);
                    self.move_to(gap.position.clone());
                    return Poll::Ready(Some(Err(gap)));
                }
                Read::Lagged => self.end(TopicEnd::Lagged, false),
                Read::End => self.end(TopicEnd::Over, false),
                Read::Failed(failure) => {
                    let has_failed = !failure.is_stop;
                    if let Some(reading) = &mut self.reading {
                        reading.fails(failure);
                    }
                    self.end(TopicEnd::Over, has_failed);
                }
            }
        }
    }

    /// Writes the next update, along with other updates from the same read, until the outgoing
    /// frames are full. The lock is acquired only once, and a whole batch can be written without
    /// copying it. Returns whether the generator must then stop, or `None` once the topic is
    /// finished.
    ///
    /// The effect is the same as passing every update to `yield_!`.
    pub(crate) fn poll_push(
        &mut self,
        handoff: &Handoff,
        cx: &mut Context<'_>,
    ) -> Poll<Option<bool>> {
        let Some(mut update) = ready!(self.poll_update::<FRAMES>(cx)) else {
            return Poll::Ready(None);
        };
        let stop = handoff.write(|outgoing| {
            let mut events = 1;
            let is_whole = update.gap.is_none();
            if let Some(batch) = is_whole.then(|| self.state.take_batch()).flatten() {
                outgoing.frames.share(batch.frames());
                events = batch.deliveries().len();
                update.delivery.clone_from(&batch.deliveries()[events - 1]);
            } else {
                update.put_into(outgoing);
                while !outgoing.frames.is_full()
                    && let Some(delivery) = self.state.take_next()
                {
                    delivery.put_into(outgoing);
                    events += 1;
                    update.delivery = delivery;
                }
            }
            self.position = update.id().clone();
            outgoing.wrote_together(events as u64, Some(update.id().clone()));
            outgoing.followed_by(self.state.next());
            Ok(())
        });
        // The position has already been reported to the stream along with the last event written.
        if self.report == Report::Due {
            self.report = Report::Done;
        }
        let waits = self.state.next() == Next::Wait;
        Poll::Ready(Some(stop == Stop::UntilTaken || waits))
    }

    /// Hands out an event. Returns a gap instead if the caller uses the event's value and the value
    /// cannot be decoded.
    #[inline(always)]
    fn hand_out_if<const READS: bool>(&mut self, delivery: Delivery<T>) -> Result<Update<T>, Gap> {
        if READS == VALUES
            && let Some(gap) = delivery.unreadable()
        {
            count_gap(gap.reason);
            self.move_to(gap.position.clone());
            return Err(gap);
        }
        Ok(self.hand_out(delivery))
    }

    fn hand_out(&mut self, delivery: Delivery<T>) -> Update<T> {
        self.move_to(delivery.id().clone());
        Update {
            delivery,
            more: self.state.next() == Next::Others,
            gap: None,
        }
    }

    fn move_to(&mut self, position: EventId) {
        self.position = position;
        if self.report == Report::Done {
            self.report = Report::Due;
        }
    }

    fn report_position(&mut self) {
        if self.report == Report::Due {
            let report = |handoff: &Handoff| handoff.lock().ids.has_read_to(&self.position);
            if Handoff::with_current(report).is_some() {
                self.report = Report::Done;
            }
        }
    }

    fn end(&mut self, end: TopicEnd, has_failed: bool) {
        self.state = State::Ended { has_failed };
        if self.report != Report::NotNeeded {
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
    fn poll_update<const READS: bool>(&mut self, cx: &mut Context<'_>) -> Poll<Option<Update<T>>> {
        loop {
            match ready!(self.poll_recv::<READS>(cx)) {
                None => return Poll::Ready(None),
                Some(Ok(mut update)) => {
                    update.gap = self.unreported.take();
                    return Poll::Ready(Some(update));
                }
                Some(Err(gap)) => {
                    let gap = gap.after(self.unreported.take());
                    if Handoff::with_current(|handoff| handoff.write_gap(&gap)).is_none() {
                        self.unreported = Some(Box::new(gap));
                    }
                }
            }
        }
    }
}

impl<T> PushBatch<T> for Subscription<T> {
    fn poll_push(
        self: Pin<&mut Self>,
        yielder: &Yielder<T>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<bool>> {
        self.get_mut().poll_push(&yielder.handoff, cx)
    }
}

impl<T> Stream for Subscription<T> {
    type Item = Update<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Update<T>>> {
        self.poll_update::<VALUES>(cx)
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
