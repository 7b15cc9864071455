//! Response bodies for handlers and layers.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::{Body, Bytes};
use http_body::Frame;

/// The result of polling a body.
pub type PolledFrame = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

/// Creates a body from a poll function, just as [`std::future::poll_fn`] creates a future from one.
pub fn poll_fn(poll: impl FnMut(&mut Context<'_>) -> PolledFrame + Send + Unpin + 'static) -> Body {
    Body::new(PollFn(poll))
}

/// Creates a body that yields `frames` and never returns `Pending`.
pub fn of_frames(frames: Vec<Frame<Bytes>>) -> Body {
    let mut frames = frames.into_iter();
    poll_fn(move |_| Poll::Ready(frames.next().map(Ok)))
}

/// Creates a data frame.
pub fn data(data: &'static str) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(data.as_bytes()))
}

struct PollFn<F>(F);

impl<F> http_body::Body for PollFn<F>
where
    F: FnMut(&mut Context<'_>) -> PolledFrame + Unpin,
{
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledFrame {
        (self.0)(cx)
    }
}
