//! [`Update`]: an event from a topic, as read by a subscription.

use std::{fmt, ops::Deref};

use crate::{
    event::{frame::EncodeError, gap::Gap, id::EventId},
    generator::{
        outgoing::{Next, Outgoing},
        yielder::{Item, Yield, kind},
    },
    topic::backend::Delivery,
};

/// An event from a topic, as read by a subscription. It contains the event's value and its frame,
/// which was encoded when the event was published.
///
/// In a stream of `T`, `yield_!` accepts an update or a reference to one and sends the update's id
/// along with the value. `yield_!(&*update)` passes only the `T` inside the update. The event then
/// has no id, so a client cannot resume after it.
pub struct Update<T> {
    pub(super) delivery: Delivery<T>,
    /// Whether more updates can be read without waiting.
    pub(super) more: bool,
    /// A gap to write before the update.
    pub(super) gap: Option<Box<Gap>>,
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

    /// Writes the gap, if any, followed by the frame.
    pub(super) fn put_into(&self, outgoing: &mut Outgoing) {
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
