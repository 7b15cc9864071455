//! [`ClientIds`]: the ids that the client has received and those that it has yet to receive.
//!
//! A client that reconnects sends the last id it received. If the handler filters out events, the
//! stream may have read the topic past that id. In that case, the next keep-alive contains
//! `read_to`.

use crate::event::id::EventId;

#[derive(Debug, Default)]
pub(crate) struct ClientIds {
    /// The client's last event ID: the last id sent to the client or, if none has been sent yet,
    /// the id from the request.
    pub(crate) last: Option<EventId>,
    /// The position up to which a topic has been read, if it is past the client's last id.
    read_to: Option<EventId>,
    /// The position at which the client started to read a topic. Until the client receives another
    /// id, it needs this position in order to resume.
    starts_at: Option<Box<EventId>>,
    /// Whether the ids come from the handler rather than from a topic.
    are_own: bool,
}

impl ClientIds {
    pub(crate) fn new(last: Option<EventId>) -> Self {
        Self {
            last,
            ..Self::default()
        }
    }

    /// Records that a frame with this id has been written. The client keeps the id until another
    /// frame sets one.
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
        // The client's id may now be past `read_to`.
        self.read_to = None;
    }

    /// Records that a topic has been read up to `position` and has no later events yet.
    pub(crate) fn has_read_to(&mut self, position: &EventId) {
        self.read_to = match &self.last {
            Some(last) if last == position || self.are_own => None,
            _ => Some(position.clone()),
        };
    }

    /// Records that an upstream has sent `position` without an event and has sent no event since. A
    /// client without an id needs the position at once. Other clients receive it with the next
    /// keep-alive.
    pub(crate) fn relayed_to(&mut self, position: &EventId) {
        match &self.last {
            None => self.starts_at = Some(Box::new(position.clone())),
            Some(last) if last == position => {}
            Some(_) => self.read_to = Some(position.clone()),
        }
    }

    /// Takes the `read_to` position, which the client has not received yet. The caller must send it
    /// to the client.
    pub(crate) fn take_read_to(&mut self) -> Option<EventId> {
        let read_to = self.read_to.take()?;
        self.last = Some(read_to.clone());
        Some(read_to)
    }

    /// Records that a topic is being read from `position`, either because the client's id contains
    /// that position or because the client has no id.
    pub(crate) fn starts_at(&mut self, position: &EventId) {
        if self.last.is_none() && self.starts_at.is_none() {
            self.starts_at = Some(Box::new(position.clone()));
        }
    }

    /// Records that a topic is being read from a `position` other than the one given by the
    /// client's last event ID.
    pub(crate) fn restarts_at(&mut self, position: &EventId) {
        self.starts_at = Some(Box::new(position.clone()));
    }

    /// Takes the start position if the client has not received it yet. If the connection is lost,
    /// the client can resume from this position, no matter how far the topic has been read since.
    #[inline]
    pub(crate) fn take_start(&mut self) -> Option<EventId> {
        Some(*self.starts_at.take()?)
    }

    /// Records that the start position was sent to the client.
    pub(crate) fn sent_start(&mut self, start: EventId) {
        self.read_to = self.read_to.take().filter(|read_to| *read_to != start);
        self.last = Some(start);
    }

    /// Records that a topic has ended at `position`. If the client has not received its start
    /// position, it has no id from this topic, so `position` becomes its last event ID. Without
    /// that ID, the client would not get a `204` when it reconnects.
    pub(crate) fn ends_at(&mut self, position: &EventId) {
        if self.starts_at.take().is_some() || self.last.is_none() {
            self.last = Some(position.clone());
        }
    }
}
