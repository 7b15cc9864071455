//! [`KeepAlive`]: sends a frame after a period of silence.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::poll::cached::CachedPoll;

/// An endpoint's keep-alive frame and the period of silence after which it is sent.
#[derive(Debug)]
pub(crate) struct Beat {
    pub(crate) after: Duration,
    pub(crate) frame: Bytes,
}

/// A timer that yields the keep-alive frame whenever one is due. The timer is reset only when it
/// fires, which avoids a reset after every event.
#[derive(Debug)]
pub(crate) struct KeepAlive {
    beat: Arc<Beat>,
    last: Instant,
    /// The time at which the timer fires.
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

    /// Records that a frame has just been sent, and polls the timer. This usually costs no more
    /// than reading the clock.
    pub(crate) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        self.last = Instant::now();
        if self.last < self.fires_at && self.timer.wakes(cx) {
            return Poll::Pending;
        }
        self.poll_due(cx)
    }

    #[inline]
    pub(crate) fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        // The timer is polled outside the task's budget. Otherwise, a generator that uses up the
        // budget would keep the timer from firing.
        ready!(self.timer.poll_where(Sleep::is_elapsed, cx));
        self.poll_fired(cx)
    }

    /// Called once the timer has fired. Sending a frame does not reset the timer, so the timer may
    /// fire before a keep-alive is due. In that case, the timer is reset to fire when the
    /// keep-alive is due.
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
