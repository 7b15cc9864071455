//! [`RequestBody`]: the body of a request, which has to arrive.

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

/// A body that has to arrive until its request is answered, so that nobody keeps a handler by sending a byte now and then.
///
/// The time counts that it was waited for, and each [`RATE`] bytes earn a second more. Once there is a response, the
/// body may take as long as it likes: a client may well talk while it listens.
#[derive(Debug)]
pub(crate) struct RequestBody {
    body: Incoming,
    limit: Duration,
    course: Course,
    received: usize,
    /// How long it was waited for so far, and since when it is waited for now.
    waited: Duration,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

/// How far a request has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Course(Arc<State>);

#[derive(Debug, Default)]
struct State {
    answered: AtomicBool,
    arrived: AtomicBool,
}

impl Course {
    pub(crate) fn set_answered(&self) {
        self.0.answered.store(true, Ordering::Relaxed);
    }

    fn is_answered(&self) -> bool {
        self.0.answered.load(Ordering::Relaxed)
    }

    fn set_arrived(&self) {
        self.0.arrived.store(true, Ordering::Release);
    }

    /// Whether its body was read to its end.
    pub(crate) fn has_arrived(&self) -> bool {
        self.0.arrived.load(Ordering::Acquire)
    }
}

/// What a client has to send in a second at least, in bytes.
const RATE: usize = 500;

/// A request's body did not arrive in time.
#[derive(Debug, thiserror::Error)]
#[error("the client sent {received} bytes of its request in {waited:?}, and was given up")]
struct TooSlow {
    received: usize,
    waited: Duration,
}

impl RequestBody {
    pub(crate) fn new(body: Incoming, limit: Duration, course: Course) -> Self {
        Self {
            body,
            limit,
            course,
            received: 0,
            waited: Duration::ZERO,
            waiting: None,
        }
    }

    fn left(&self) -> Duration {
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
                this.course.set_arrived();
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if this.course.is_answered() {
            this.waiting = None;
            return Poll::Pending;
        }
        let left = this.left();
        let (since, timer) = this
            .waiting
            .get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
        if poll_unconstrained(timer.as_mut(), cx).is_pending() {
            return Poll::Pending;
        }
        let too_slow = TooSlow {
            received: this.received,
            waited: this.waited + since.elapsed(),
        };
        tracing::debug!(error = %too_slow, "a request is not read to its end");
        Poll::Ready(Some(Err(too_slow.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
