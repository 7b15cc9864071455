//! [`Registered`]: a future that is polled again only where that may say something new.
//!
//! A stream looks at its timers with every event, and all that it finds is that they are not over. To ask that of the future is
//! a tenth of the event; to see that it was asked before, with the same waker, is nothing.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use crate::{keep_alive::poll_unconstrained, turn::Identity};

pin_project! {
    #[derive(Debug)]
    pub(crate) struct Registered<F> {
        #[pin]
        future: F,
        // The waker that it wakes.
        waker: Option<Identity>,
    }
}

impl<F: Future> Registered<F> {
    pub(crate) fn new(future: F) -> Self {
        Self {
            future,
            waker: None,
        }
    }

    pub(crate) fn future(&self) -> &F {
        &self.future
    }

    /// To be changed; it wakes nobody then, as far as is known here.
    pub(crate) fn future_mut(self: Pin<&mut Self>) -> Pin<&mut F> {
        let this = self.project();
        *this.waker = None;
        this.future
    }

    /// Polls it without asking the task's budget, if it `may_be_ready`, or would wake somebody else.
    ///
    /// It is not missed when it becomes ready behind that question: then it wakes this waker.
    pub(crate) fn poll_where(
        self: Pin<&mut Self>,
        may_be_ready: impl FnOnce(&F) -> bool,
        cx: &mut Context<'_>,
    ) -> Poll<F::Output> {
        let this = self.project();
        let waker = Identity::of(cx.waker());
        if *this.waker == Some(waker) && !may_be_ready(&this.future) {
            return Poll::Pending;
        }
        let polled = poll_unconstrained(this.future, cx);
        *this.waker = polled.is_pending().then_some(waker);
        polled
    }
}
