//! [`ClientIds`]: what the client knows of ids, and what it has yet to be told.
//!
//! A client that reconnects sends the last id that it has received. A reader of a topic may be further than that: it has
//! read events that the handler filtered out. The keep-alive then carries `read_to`.

use crate::event::id::EventId;

#[derive(Debug, Default)]
pub(crate) struct ClientIds {
    /// The last event ID of the client: the one it has sent, or has been sent since.
    pub(crate) last: Option<EventId>,
    /// How far a topic was read, if that is further than the client knows.
    read_to: Option<EventId>,
    /// Where the client begins to read a topic. It has to know that to reconnect, until something else gives it an id.
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

    /// A frame with this id was written; the id stays with the client until another frame sets one.
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
        // The client is here now, which may be further.
        self.read_to = None;
    }

    /// A topic was read up to `position`, and there is nothing after it yet.
    pub(crate) fn has_read_to(&mut self, position: &EventId) {
        self.read_to = match &self.last {
            Some(last) if last == position || self.are_own => None,
            _ => Some(position.clone()),
        };
    }

    /// Takes the position that the client does not know of yet. It knows it from here on.
    pub(crate) fn take_read_to(&mut self) -> Option<EventId> {
        let read_to = self.read_to.take()?;
        self.last = Some(read_to.clone());
        Some(read_to)
    }

    /// A topic is read from `position` on, because the client's id says so, or because it has none.
    pub(crate) fn starts_at(&mut self, position: &EventId) {
        if self.last.is_none() && self.starts_at.is_none() {
            self.starts_at = Some(Box::new(position.clone()));
        }
    }

    /// A topic is read from `position` on, which the client's id does not say.
    pub(crate) fn starts_anew_at(&mut self, position: &EventId) {
        self.starts_at = Some(Box::new(position.clone()));
    }

    /// Takes the start that the client has yet to be told: if the connection is lost now, the client has a place to return to.
    /// It is right whatever was read since.
    #[inline]
    pub(crate) fn take_start(&mut self) -> Option<EventId> {
        Some(*self.starts_at.take()?)
    }

    /// The client has been told the start.
    pub(crate) fn told_start(&mut self, start: EventId) {
        self.read_to = self.read_to.take().filter(|read_to| *read_to != start);
        self.last = Some(start);
    }

    /// A topic has ended at `position`. A client that has still to be told where it is needs this id, to be stopped when it
    /// reconnects.
    pub(crate) fn ends_at(&mut self, position: &EventId) {
        if self.starts_at.take().is_some() || self.last.is_none() {
            self.last = Some(position.clone());
        }
    }
}
