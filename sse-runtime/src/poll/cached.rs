//! [`CachedPoll`]: a future that is polled again only where that may say something new.
//!
//! A stream looks at its timers with every event, and all that it finds is that they are not over. To ask that of the future is
//! a tenth of the event; to see that it was asked before, with the same waker, is nothing.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use crate::poll::{epoch::WakerId, poll_unconstrained};

/// The future is in a box: it is seldom touched, and what is asked for it with every event is close to the rest that is.
#[derive(Debug)]
pub(crate) struct CachedPoll<F> {
    future: Pin<Box<F>>,
    /// The waker that it wakes.
    waker: Option<WakerId>,
}

impl<F: Future> CachedPoll<F> {
    pub(crate) fn new(future: F) -> Self {
        Self {
            future: Box::pin(future),
            waker: None,
        }
    }

    /// To be changed; it wakes nobody then, as far as is known here.
    pub(crate) fn future_mut(&mut self) -> Pin<&mut F> {
        self.waker = None;
        self.future.as_mut()
    }

    /// Whether it wakes this waker.
    pub(crate) fn wakes(&self, cx: &Context<'_>) -> bool {
        self.waker == Some(WakerId::of(cx.waker()))
    }

    /// Polls it without asking the task's budget, if it `may_be_ready`, or would wake somebody else.
    ///
    /// It is not missed when it becomes ready behind that question: then it wakes this waker.
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
