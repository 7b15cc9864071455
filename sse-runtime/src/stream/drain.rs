//! A request body that nobody read.
//!
//! hyper sees a client leave by reading from it, and does not read while a request body is still in the way: a POST
//! whose body the handler left alone would keep its generator after the client is gone. So what the extractors leave
//! behind comes back here, and is read and thrown away while the stream runs.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use axum::body::{Body, HttpBody as _};
use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// How much is thrown away, in bytes. Behind that the client's leaving shows at the next write, and hyper closes the
/// connection after the stream, since it cannot be used again.
const LIMIT: usize = 8 * 1024 * 1024;

type Slot = Arc<Mutex<Dropped>>;

#[derive(Debug, Default)]
struct Dropped {
    body: Option<Body>,
    /// Who waits for it, once somebody does.
    drainer: Option<Waker>,
}

/// Where a request body goes when it is dropped before its end. In a box, as what few streams have.
#[derive(Debug, Default)]
pub(crate) struct BodyDrain(Option<Box<Draining>>);

#[derive(Debug)]
struct Draining {
    slot: Slot,
    body: Option<Body>,
    drained: usize,
}

impl BodyDrain {
    /// Hands out the body, and keeps a way to get it back. A request without a body costs nothing.
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
        };
        (watched, Self(Some(Box::new(draining))))
    }

    /// Whether some of it is still to come.
    pub(crate) fn is_draining(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|draining| draining.body.is_some())
    }

    /// Reads what is there to read, and throws it away.
    ///
    /// # Errors
    ///
    /// Where the body breaks off: its client has left in the middle of it, or its framing is bad. hyper reads nothing
    /// from the connection after that, so it would never see the client leave.
    // Most requests have no body, or one that was read, and it is asked for with each event.
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
    /// Ready at the end of what there is to be read.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        if self.body.is_none() {
            let mut dropped = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
            self.body = dropped.body.take();
            // The handler may drop it at any time from now on, and wait for something else.
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

/// A request body that comes back when it is dropped before its end.
struct DrainOnDrop {
    /// `None` after its end.
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
