//! [`CachedPoll`]: a future that is polled again only if it may be ready or the waker has changed.
//!
//! A stream checks its timers on every event, although they have rarely elapsed. Polling a timer
//! takes a tenth as long as handling an event, whereas comparing the current waker with that of the
//! last poll costs almost nothing.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use crate::poll::{epoch::WakerId, poll_unconstrained};

/// A future and the waker of its last poll.
///
/// The waker is compared on every event, so it should be stored close to the other fields that are
/// read on every event. The future is rarely accessed, so it is boxed to keep those fields close
/// together.
#[derive(Debug)]
pub(crate) struct CachedPoll<F> {
    future: Pin<Box<F>>,
    /// The waker of the last poll, if that poll returned `Pending` and the future has not changed
    /// since.
    waker: Option<WakerId>,
}

impl<F: Future> CachedPoll<F> {
    pub(crate) fn new(future: F) -> Self {
        Self {
            future: Box::pin(future),
            waker: None,
        }
    }

    /// Returns the future for modification. A modified future may no longer wake the stored waker,
    /// so the next call to [`poll_where`](Self::poll_where) always polls the future.
    pub(crate) fn future_mut(&mut self) -> Pin<&mut F> {
        self.waker = None;
        self.future.as_mut()
    }

    /// Returns whether the future is known to wake `cx`'s waker.
    pub(crate) fn wakes(&self, cx: &Context<'_>) -> bool {
        self.waker == Some(WakerId::of(cx.waker()))
    }

    /// Polls the future outside the task's cooperative budget. The poll is skipped if the future is
    /// known to wake `cx`'s waker and `may_be_ready` returns `false`.
    ///
    /// If the future becomes ready right after that check, no wakeup is lost, because the future
    /// wakes `cx`'s waker.
    pub(crate) fn poll_where(
        &mut self,
        may_be_ready: impl FnOnce(&F) -> bool,
        cx: &mut Context<'_>,
    ) -> Poll<F::Output> {
        if self.wakes(cx) && !may_be_ready(&self.future) {
            return Poll::Pending;
        }
        let polled = poll_unconstrained(self.future.as_mut(), cx);
        let is_pending = polled.is_pending();
        self.waker = is_pending.then(|| WakerId::of(cx.waker()));
        polled
    }
}
