//! The frame that is sent when nothing else was for a while.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use pin_project_lite::pin_project;
use tokio::{
    task::coop::unconstrained,
    time::{Instant, Sleep, sleep_until},
};

pin_project! {
    /// Ready whenever a frame is due. The timer is moved only when it fires, not with every event.
    #[derive(Debug)]
    pub(crate) struct KeepAlive {
        after: Duration,
        frame: Bytes,
        last: Instant,
        #[pin]
        timer: Sleep,
    }
}

impl KeepAlive {
    pub(crate) fn new((after, frame): (Duration, Bytes)) -> Self {
        let last = Instant::now();
        Self {
            after,
            frame,
            last,
            timer: sleep_until(last + after),
        }
    }

    /// Something was sent just now.
    pub(crate) fn sent(self: Pin<&mut Self>) {
        *self.project().last = Instant::now();
    }

    pub(crate) fn poll_due(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Bytes> {
        let mut this = self.project();
        loop {
            // A generator that used up the task's budget must not hold back the timer.
            ready!(poll_unconstrained(this.timer.as_mut(), cx));
            let due = *this.last + *this.after;
            if due <= this.timer.deadline() {
                *this.last = Instant::now();
                this.timer.as_mut().reset(*this.last + *this.after);
                return Poll::Ready(this.frame.clone());
            }
            this.timer.as_mut().reset(due);
        }
    }
}

/// Polls a timer, or the like, without asking the task's budget.
pub(crate) fn poll_unconstrained<F: Future>(
    timer: Pin<&mut F>,
    cx: &mut Context<'_>,
) -> Poll<F::Output> {
    Pin::new(&mut unconstrained(timer)).poll(cx)
}
