//! [`Cursor`]: the position at which a subscription starts.

use super::backend::StartAt;
use crate::event::{
    id::EventId,
    last_event_id::{LastEventId, LastEventIdError},
};

/// The starting point of a subscription whose client has not sent an id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// Starts with the next published event. This is not a way to hide earlier events: a client that
    /// sends an id, even a made-up one, receives the events that the topic still holds.
    #[default]
    Now,
    /// Starts with the oldest event still held.
    First,
    /// Starts with up to this many of the newest events still held.
    Latest(usize),
}

/// The position at which a subscription created by [`Topic::subscribe`](super::Topic::subscribe)
/// starts. A cursor can be created from a [`Start`], an [`EventId`], or the request's
/// [`LastEventId`]. [`LastEventId::or`] sets the position for clients that have not sent an id, and
/// [`after_gap`](Self::after_gap) sets the position after a gap.
#[derive(Clone, Debug)]
pub struct Cursor {
    pub(super) from: StartAt,
    /// The starting point in topics that do not appear in the client's id.
    pub(super) start: Start,
    /// The position at which the subscription continues after a gap, if it has been set.
    pub(super) after_gap: Option<Start>,
    /// Whether the position depends on the client's id, or on whether the client sent one.
    pub(super) is_resumed: bool,
    /// Whether a client without an id starts at the default position because the caller did not
    /// specify one.
    pub(super) is_default: bool,
}

impl Cursor {
    /// Sets the position at which the subscription continues after a [`Gap`](crate::topic::Gap). By
    /// default, it continues with the oldest event that the topic holds or, if the reader has been
    /// overtaken, as configured by the topic's [builder](crate::topic::TopicBuilder).
    ///
    /// After a gap, a client usually has to fetch the current state anyway, so it does not need the
    /// old events that the topic still holds.
    ///
    /// ```
    /// # use sse_runtime::{LastEventId, Start, Stream, Topic, sse_endpoint};
    /// # use axum::extract::State;
    /// #[sse_endpoint("/price")]
    /// async fn price(State(prices): State<Topic<u64>>, last: LastEventId) -> impl Stream<Item = u64> {
    ///     // A new client receives the newest price. A client that reconnects receives every price
    ///     // that it missed or, if some of them are no longer held, a gap and the newest price.
    ///     let cursor = last.or(Start::Latest(1)).after_gap(Start::Latest(1));
    ///     yield_all!(prices.subscribe(cursor));
    /// }
    /// ```
    ///
    /// - The position applies to every reason for a gap except
    ///   [`Unreadable`](crate::topic::GapReason::Unreadable), which concerns a single event. The
    ///   subscription continues with the event that follows it.
    /// - If the gap is due to the reader being overtaken, the position takes precedence over
    ///   [`latest`](crate::topic::TopicBuilder::latest) and
    ///   [`latest_by`](crate::topic::TopicBuilder::latest_by), but not over
    ///   [`disconnect`](crate::topic::TopicBuilder::disconnect), with which the subscription ends.
    /// - Events that the reader has already received are not repeated. The skipped events count
    ///   as [`missed`](crate::topic::Gap::missed).
    /// - If a subscription reads several topics, the position applies to each topic that has a gap.
    ///   The other topics continue without interruption.
    /// - If an engine has lost a topic, its ring is refilled from the engine's log. A subscription
    ///   with this setting receives the gap only after that, because the newest events are not known
    ///   before.
    pub fn after_gap(mut self, start: Start) -> Self {
        self.after_gap = Some(start);
        self
    }

    /// Adapts the cursor to a run. By default, a client without an id reads a run from the
    /// beginning.
    pub(super) fn for_run(mut self) -> Self {
        if self.is_default {
            self.start = Start::First;
            if let StartAt::Start(start) = &mut self.from {
                *start = Start::First;
            }
        }
        self
    }

    /// Returns whether the client sent an id, even an invalid one.
    pub(super) fn has_id(&self) -> bool {
        !matches!(self.from, StartAt::Start(_))
    }
}

impl From<Start> for Cursor {
    fn from(start: Start) -> Self {
        Self {
            from: StartAt::Start(start),
            start,
            after_gap: None,
            is_resumed: false,
            is_default: false,
        }
    }
}

impl From<EventId> for Cursor {
    fn from(id: EventId) -> Self {
        Self {
            from: StartAt::After(id.to_string()),
            start: Start::Now,
            after_gap: None,
            is_resumed: true,
            is_default: true,
        }
    }
}

impl From<LastEventId> for Cursor {
    fn from(last: LastEventId) -> Self {
        Self {
            is_default: true,
            ..last.or(Start::Now)
        }
    }
}

impl LastEventId {
    /// Returns a cursor that starts after this id, or at `start` if the client did not send an id.
    ///
    /// ```
    /// # use sse_runtime::{LastEventId, Start, Stream, Topic, sse_endpoint};
    /// # use axum::extract::State;
    /// #[sse_endpoint("/price")]
    /// async fn price(State(prices): State<Topic<u64>>, last: LastEventId) -> impl Stream<Item = u64> {
    ///     // A client that connects for the first time receives the newest price immediately.
    ///     yield_all!(prices.subscribe(last.or(Start::Latest(1))));
    /// }
    /// ```
    pub fn or(self, start: Start) -> Cursor {
        Cursor {
            from: match self.0 {
                Ok(Some(id)) => StartAt::After(id.to_string()),
                Ok(None) => StartAt::Start(start),
                Err(LastEventIdError::Done { last }) => StartAt::Done(last),
                Err(LastEventIdError::NotParsed { .. } | LastEventIdError::NotUtf8) => {
                    StartAt::Unknown
                }
            },
            start,
            after_gap: None,
            is_resumed: true,
            is_default: false,
        }
    }
}
