//! [`BodyDrain`]: reads and discards the part of a request body that the handler did not read.
//!
//! hyper detects a disconnect by reading from the connection, but it cannot read past an unread
//! request body. If a handler ignored the body of a POST request, hyper would not notice the client
//! disconnecting, and the generator would keep running. To prevent this, a body that the extractors
//! drop before reading it to the end is handed back to the stream, which drains it while the
//! generator runs.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use axum::body::{Body, HttpBody as _};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::poll::poll_unconstrained;

/// The maximum number of bytes to discard. If the rest of the body is larger, a disconnect is not
/// noticed until the next write. In that case, hyper also closes the connection after the stream
/// ends instead of reusing it.
const LIMIT: usize = 8 * 1024 * 1024;

/// How long an ended stream waits for the rest of an unread request body.
///
/// If part of the request body is still unread when the response ends, hyper closes the connection.
/// If the client then sends more of the body, the kernel replies with a reset, and the client loses
/// any data that it has not read yet, such as the stream's last events.
const LINGER: Duration = Duration::from_secs(2);

type Slot = Arc<Mutex<Dropped>>;

#[derive(Debug, Default)]
struct Dropped {
    body: Option<Body>,
    /// Wakes the task waiting for `body`.
    drainer: Option<Waker>,
}

/// Drains a request body that was dropped before it was fully read. Boxed because few requests have
/// an unread body.
#[derive(Debug, Default)]
pub(crate) struct BodyDrain(Option<Box<Draining>>);

#[derive(Debug)]
struct Draining {
    slot: Slot,
    body: Option<Body>,
    drained: usize,
    /// Started once the stream has ended.
    linger: Option<Pin<Box<Sleep>>>,
}

impl BodyDrain {
    /// Returns the body to pass to the extractors, and a drain that takes over the body if they
    /// drop it. Does not allocate if the request has no body.
    pub(crate) fn watch(body: Body) -> (Body, Self) {
        if body.is_end_stream() {
            return (body, Self::default());
        }
        let slot = Slot::default();
        let watched = Body::new(DrainOnDrop {
            body: Some(body),
            slot: Arc::clone(&slot),
        });
        let draining = Draining {
            slot,
            body: None,
            drained: 0,
            linger: None,
        };
        (watched, Self(Some(Box::new(draining))))
    }

    /// Waits for the rest of the body to be read, but no longer than [`LINGER`].
    pub(crate) fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(draining) = self.0.as_mut().filter(|draining| draining.body.is_some()) else {
            return Poll::Ready(());
        };
        let linger = draining
            .linger
            .get_or_insert_with(|| Box::pin(sleep(LINGER)));
        poll_unconstrained(linger.as_mut(), cx)
    }

    /// Reads and discards the data that has arrived.
    ///
    /// # Errors
    ///
    /// Returns an error if the body ends early because the client has disconnected, or if the
    /// body's framing is invalid. The stream must then end immediately: after such an error, hyper
    /// stops reading from the connection and can no longer notice a disconnect.
    // Inlined because it is called for every event and there is usually nothing to drain.
    #[inline]
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Result<(), axum::Error> {
        match self.0 {
            None => Ok(()),
            Some(_) => self.poll_rest(cx),
        }
    }

    #[inline(never)]
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Result<(), axum::Error> {
        let drained = self.0.as_mut().map(|draining| draining.poll_drain(cx));
        let Some(Poll::Ready(drained)) = drained else {
            return Ok(());
        };
        self.0 = None;
        drained
    }
}

impl Draining {
    /// Reads and discards data until the body ends or [`LIMIT`] is exceeded.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        if self.body.is_none() {
            let mut dropped = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
            self.body = dropped.body.take();
            // The handler may drop the body later, while this task is waiting for something else.
            // Register the waker so that the task is woken when that happens.
            if self.body.is_none() {
                dropped.drainer = Some(cx.waker().clone());
            }
        }
        let Some(body) = &mut self.body else {
            return Poll::Pending;
        };
        loop {
            match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    self.drained += frame.data_ref().map_or(0, Bytes::len);
                    if self.drained > LIMIT {
                        return Poll::Ready(Ok(()));
                    }
                }
                None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
    }
}

/// A request body that is handed back to its [`BodyDrain`] if dropped before it has been fully
/// read.
struct DrainOnDrop {
    /// The body, or `None` once it has ended.
    body: Option<Body>,
    slot: Slot,
}

impl http_body::Body for DrainOnDrop {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(cx);
        if let Poll::Ready(None | Some(Err(_))) = polled {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for DrainOnDrop {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            let mut dropped = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
            dropped.body = Some(body);
            let drainer = dropped.drainer.take();
            drop(dropped);
            if let Some(waker) = drainer {
                waker.wake();
            }
        }
    }
}
