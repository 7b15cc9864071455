//! [`RequestBody`]: a request body with a read timeout.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};

use crate::{lifecycle::shutdown::LONGEST, poll::poll_unconstrained};

/// A request body that returns an error if the client sends it too slowly before the app has
/// responded. Without this error, a client could keep a handler busy by sending a byte now and
/// then.
///
/// Only the time spent waiting for the client counts, and every [`RATE`] bytes received extend the
/// limit by one second. Once the app has responded, the timeout no longer applies, because a client
/// may keep sending while it reads the response.
#[derive(Debug)]
pub(crate) struct RequestBody {
    body: Incoming,
    limit: Duration,
    progress: RequestProgress,
    received: usize,
    /// The time spent waiting so far, excluding the current wait.
    waited: Duration,
    /// The start of the current wait, and the timer limiting it.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

/// Records whether a request's body has been read and whether the app has responded. Shared between
/// the body and the response future.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestProgress(Arc<State>);

#[derive(Debug, Default)]
struct State {
    answered: AtomicBool,
    arrived: AtomicBool,
}

impl RequestProgress {
    pub(crate) fn set_answered(&self) {
        self.0.answered.store(true, Ordering::Relaxed);
    }

    fn is_answered(&self) -> bool {
        self.0.answered.load(Ordering::Relaxed)
    }

    fn set_arrived(&self) {
        self.0.arrived.store(true, Ordering::Release);
    }

    /// Returns whether the entire body has been read.
    pub(crate) fn has_arrived(&self) -> bool {
        self.0.arrived.load(Ordering::Acquire)
    }
}

/// The minimum rate at which a client must send, in bytes per second.
const RATE: usize = 500;

/// The error returned if a request body does not arrive in time.
#[derive(Debug, thiserror::Error)]
#[error("the request body timed out: the client sent {received} bytes in {waited:?}")]
struct TooSlow {
    received: usize,
    waited: Duration,
}

impl RequestBody {
    pub(crate) fn new(body: Incoming, limit: Duration, progress: RequestProgress) -> Self {
        Self {
            body,
            limit,
            progress,
            received: 0,
            waited: Duration::ZERO,
            waiting: None,
        }
    }

    fn time_left(&self) -> Duration {
        let earned = Duration::from_secs((self.received / RATE) as u64);
        let allowed = self.limit.saturating_add(earned);
        allowed.saturating_sub(self.waited).min(LONGEST)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            if let Some((since, _)) = this.waiting.take() {
                this.waited += since.elapsed();
            }
            if let Some(Ok(frame)) = &frame {
                this.received += frame.data_ref().map_or(0, Bytes::len);
            }
            if frame.is_none() || this.body.is_end_stream() {
                this.progress.set_arrived();
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if this.progress.is_answered() {
            this.waiting = None;
            return Poll::Pending;
        }
        let time_left = this.time_left();
        let (since, timer) = this
            .waiting
            .get_or_insert_with(|| (Instant::now(), Box::pin(sleep(time_left))));
        if poll_unconstrained(timer.as_mut(), cx).is_pending() {
            return Poll::Pending;
        }
        let too_slow = TooSlow {
            received: this.received,
            waited: this.waited + since.elapsed(),
        };
        tracing::debug!(error = %too_slow, "stopped reading a request body");
        Poll::Ready(Some(Err(too_slow.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
