//! [`Filter`] and [`Map`]: adapters that filter or map a subscription's updates.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::task::coop;
use tokio_stream::Stream;

use super::{Subscription, Update, VALUES};
use crate::event::{event::Event, id::EventId};

/// A subscription that yields only the updates that pass a filter. See [`Subscription::filter`].
pub struct Filter<T, F> {
    pub(super) updates: Subscription<T>,
    pub(super) filter: F,
}

impl<T, F: FnMut(&T) -> bool> Filter<T, F> {
    /// Returns the next update that passes the filter, or `None` once the topic is finished.
    ///
    /// # Cancel safety
    ///
    /// No update is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Update<T>> {
        poll_fn(|cx| self.poll_update(cx)).await
    }

    /// Returns the position after all updates read so far, including those rejected by the filter.
    /// See [`Subscription::position`].
    pub fn position(&self) -> EventId {
        self.updates.position()
    }

    /// Maps the updates to events. See [`Subscription::map`].
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
            match ready!(self.updates.poll_update::<VALUES>(cx)) {
                Some(update) if !(self.filter)(&update) => {
                    // Attach the rejected update's gap to the next update instead.
                    if update.gap.is_some() {
                        self.updates.unreported = update.gap;
                    }
                    // If events are published continuously and the filter rejects all of them, this
                    // loop never waits. Yield to the runtime from time to time so that other tasks
                    // can run and the stream can be closed.
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
        f.debug_tuple("Filter").field(&self.updates).finish()
    }
}

/// A subscription whose updates are mapped to events of another type. See [`Subscription::map`].
pub struct Map<S, F> {
    pub(super) updates: S,
    pub(super) view: F,
}

impl<S, F> Map<S, F> {
    /// Returns the next event, or `None` once the topic is finished.
    ///
    /// # Cancel safety
    ///
    /// No update is lost if the future is dropped.
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
                tracing::warn!(%gap, "dropped a gap; a mapped subscription cannot report it outside of an endpoint");
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
