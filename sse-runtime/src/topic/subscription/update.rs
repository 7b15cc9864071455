//! [`Update`]: an event from a topic, as read by a subscription.

use std::{
    fmt,
    ops::Deref,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::{
    event::{frame::EncodeError, gap::Gap, id::EventId},
    generator::{
        outgoing::{Next, Outgoing},
        yielder::{Item, Yield, kind},
    },
    topic::{
        Start,
        backend::{Backend, Delivery, Read, StartAt},
    },
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

/// Returns the events that a topic holds, or `None` if the value of one of them cannot be decoded.
pub(in crate::topic) fn read_held<T: Send + Sync + 'static>(
    backend: &Arc<dyn Backend<T>>,
) -> Option<Vec<Update<T>>> {
    let mut reader = Arc::clone(backend).subscribe(StartAt::Start(Start::First), None);
    let mut cx = Context::from_waker(Waker::noop());
    let mut held = Vec::new();
    let mut hold = |delivery: &Delivery<T>| {
        held.push(Update {
            delivery: delivery.clone(),
            more: false,
            gap: None,
        });
        delivery.unreadable().is_none()
    };
    loop {
        let is_readable = match reader.poll_read(&mut cx) {
            Poll::Ready(Read::Event { delivery, .. }) => hold(&delivery),
            Poll::Ready(Read::Events { batch, .. }) => batch.deliveries().iter().all(&mut hold),
            Poll::Ready(Read::Gap(_) | Read::Lagged) => false,
            Poll::Ready(Read::End | Read::Failed(_)) | Poll::Pending => return Some(held),
        };
        if !is_readable {
            return None;
        }
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
