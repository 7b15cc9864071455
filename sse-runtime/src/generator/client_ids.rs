//! [`ClientIds`]: the ids that the client has received, and those that it still has to receive.
//!
//! A client that reconnects sends the last id that it has received. A reader of a topic may be
//! further along, if it has read events that the handler filtered out. The keep-alive then carries
//! `read_to`.

use crate::event::id::EventId;

#[derive(Debug, Default)]
pub(crate) struct ClientIds {
    /// The last event ID of the client: the one that it has sent, or the last that it was sent
    /// since.
    pub(crate) last: Option<EventId>,
    /// The position up to which a topic was read, if that is further than the client's last id.
    read_to: Option<EventId>,
    /// The position from which the client reads a topic. The client needs it to reconnect, until it
    /// receives another id.
    starts_at: Option<Box<EventId>>,
    /// Whether the ids are the handler's own, and not those of a topic.
    are_own: bool,
}

impl ClientIds {
    pub(crate) fn new(last: Option<EventId>) -> Self {
        Self {
            last,
            ..Self::default()
        }
    }

    /// Records that a frame with this id was written. The client keeps the id until another frame
    /// sets one.
    #[inline]
    pub(crate) fn remember(&mut self, id: Option<EventId>) {
        if let Some(id) = id {
            self.set(id);
        }
    }

    #[inline]
    fn set(&mut self, id: EventId) {
        self.are_own = !id.is_of_topic();
        self.starts_at = None;
        self.last = Some(id);
        // The client's id may now be further than `read_to`.
        self.read_to = None;
    }

    /// Records that a topic was read up to `position`, with nothing after it so far.
    pub(crate) fn has_read_to(&mut self, position: &EventId) {
        self.read_to = match &self.last {
            Some(last) if last == position || self.are_own => None,
            _ => Some(position.clone()),
        };
    }

    /// Takes the position that the client has not received yet. The caller sends it.
    pub(crate) fn take_read_to(&mut self) -> Option<EventId> {
        let read_to = self.read_to.take()?;
        self.last = Some(read_to.clone());
        Some(read_to)
    }

    /// Records that a topic is read from `position` on, either because the client's id names it, or
    /// because the client has no id.
    pub(crate) fn starts_at(&mut self, position: &EventId) {
        if self.last.is_none() && self.starts_at.is_none() {
            self.starts_at = Some(Box::new(position.clone()));
        }
    }

    /// Records that a topic is read from a `position` that the client's id does not name.
    pub(crate) fn starts_anew_at(&mut self, position: &EventId) {
        self.starts_at = Some(Box::new(position.clone()));
    }

    /// Takes the start position if the client has not received it yet. With it the client can
    /// reconnect if the connection is lost now. The position stays correct, no matter how far the
    /// topic was read since.
    #[inline]
    pub(crate) fn take_start(&mut self) -> Option<EventId> {
        Some(*self.starts_at.take()?)
    }

    /// Records that the client was sent the start position.
    pub(crate) fn told_start(&mut self, start: EventId) {
        self.read_to = self.read_to.take().filter(|read_to| *read_to != start);
        self.last = Some(start);
    }

    /// Records that a topic has ended at `position`. A client that has not received its start
    /// position needs this id, so that it is stopped when it reconnects.
    pub(crate) fn ends_at(&mut self, position: &EventId) {
        if self.starts_at.take().is_some() || self.last.is_none() {
            self.last = Some(position.clone());
        }
    }
}
