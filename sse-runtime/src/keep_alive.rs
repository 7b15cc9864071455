//! The frame that is sent when nothing else was for a while.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use pin_project_lite::pin_project;
use tokio::{
    task::coop::unconstrained,
    time::{Instant, Sleep, sleep_until},
};

use crate::registered::Registered;

/// What is sent after how much silence: the same for all streams of an endpoint.
#[derive(Debug)]
pub(crate) struct Beat {
    pub(crate) after: Duration,
    pub(crate) frame: Bytes,
}

pin_project! {
    /// Ready whenever a frame is due. The timer is moved only when it fires, not with every event.
    #[derive(Debug)]
    pub(crate) struct KeepAlive {
        beat: Arc<Beat>,
        last: Instant,
        #[pin]
        timer: Registered<Sleep>,
    }
}

impl KeepAlive {
    pub(crate) fn new(beat: Arc<Beat>) -> Self {
        let last = Instant::now();
        Self {
            timer: Registered::new(sleep_until(last + beat.after)),
            beat,
            last,
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
            ready!(this.timer.as_mut().poll_where(Sleep::is_elapsed, cx));
            let due = *this.last + this.beat.after;
            let is_due = due <= this.timer.future().deadline();
            if is_due {
                *this.last = Instant::now();
            }
            let next = *this.last + this.beat.after;
            this.timer.as_mut().future_mut().reset(next);
            if is_due {
                return Poll::Ready(this.beat.frame.clone());
            }
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
