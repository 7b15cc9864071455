//! The frame that is sent when nothing else was for a while.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::poll::cached::CachedPoll;

/// What is sent after how much silence: the same for all streams of an endpoint.
#[derive(Debug)]
pub(crate) struct Beat {
    pub(crate) after: Duration,
    pub(crate) frame: Bytes,
}

/// Ready whenever a frame is due. The timer is moved only when it fires, not with every event.
#[derive(Debug)]
pub(crate) struct KeepAlive {
    beat: Arc<Beat>,
    last: Instant,
    /// When the timer fires.
    fires_at: Instant,
    timer: CachedPoll<Sleep>,
}

impl KeepAlive {
    pub(crate) fn new(beat: Arc<Beat>) -> Self {
        let last = Instant::now();
        let fires_at = last + beat.after;
        Self {
            timer: CachedPoll::new(sleep_until(fires_at)),
            beat,
            last,
            fires_at,
        }
    }

    /// Something was sent just now. To be asked for what is due behind it costs a look at the clock, mostly.
    pub(crate) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        self.last = Instant::now();
        if self.last < self.fires_at && self.timer.wakes(cx) {
            return Poll::Pending;
        }
        self.poll_due(cx)
    }

    #[inline]
    pub(crate) fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        // A generator that used up the task's budget must not hold back the timer.
        ready!(self.timer.poll_where(Sleep::is_elapsed, cx));
        self.poll_fired(cx)
    }

    /// The timer has fired, which it also does for a frame that was sent meanwhile.
    #[inline(never)]
    fn poll_fired(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        loop {
            let is_due = self.last + self.beat.after <= self.fires_at;
            if is_due {
                self.last = Instant::now();
            }
            self.fires_at = self.last + self.beat.after;
            self.timer.future_mut().reset(self.fires_at);
            if is_due {
                return Poll::Ready(self.beat.frame.clone());
            }
            ready!(self.timer.poll_where(Sleep::is_elapsed, cx));
        }
    }
}
