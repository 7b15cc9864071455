//! [`Part`]: the future that `yield_all!` awaits.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::task::coop;

use super::yielder::Yielder;

pin_project! {
    /// The future that `yield_all!` awaits. The future writes each item's frame before polling for
    /// the next item and stops at the first error. If several events of a topic or a relay are
    /// ready, it writes them together. See [`PushAll`].
    ///
    /// The future is implemented by hand, because an `async` block would store the stream twice:
    /// once as a captured variable and once as a pinned value.
    // `Part` needs no bounds on the items or the error, because `push_next` is a function pointer.
    // The compiler therefore reports an unmet bound only at the call that creates the future, not
    // again at `push_all` or at the await.
    #[must_use = "futures do nothing unless polled"]
    pub struct Part<'a, T, S, E, M> {
        yielder: &'a Yielder<T>,
        #[pin]
        stream: S,
        push_next: PushNext<T, S, E>,
        mode: PhantomData<M>,
    }
}

/// Polls the stream and writes its next item. Returns whether the generator must stop after that
/// item.
pub(super) type PushNext<T, S, E> =
    fn(&Yielder<T>, Pin<&mut S>, &mut Context<'_>) -> Poll<Option<Result<bool, E>>>;

/// The way in which a [`Part`] writes its stream.
pub trait Mode<T, S> {
    /// Polls the stream and writes the items that are ready. Returns whether the generator must
    /// stop after them, or `None` if `push_next` must poll the stream instead.
    #[doc(hidden)]
    fn poll_batch(
        yielder: &Yielder<T>,
        stream: Pin<&mut S>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<bool>>;
}

/// The mode in which items are read and written one by one.
#[derive(Debug)]
pub enum ItemByItem {}

impl<T, S> Mode<T, S> for ItemByItem {
    fn poll_batch(_: &Yielder<T>, _: Pin<&mut S>, _: &mut Context<'_>) -> Poll<Option<bool>> {
        Poll::Ready(None)
    }
}

/// The mode in which the stream itself writes the items that are ready.
#[derive(Debug)]
pub enum Batched {}

impl<T, S: PushBatch<T>> Mode<T, S> for Batched {
    fn poll_batch(
        yielder: &Yielder<T>,
        stream: Pin<&mut S>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<bool>> {
        stream.poll_push(yielder, cx)
    }
}

/// A stream that can write several items at once.
pub trait PushBatch<T> {
    /// Writes the items that are ready. Returns whether the generator must stop after them, or
    /// `None` if the caller must poll the stream instead, to read an error, the end of the stream,
    /// or the first item of a `FirstOk`.
    #[doc(hidden)]
    fn poll_push(
        self: Pin<&mut Self>,
        yielder: &Yielder<T>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<bool>>;
}

/// Selects how `yield_all!` writes a stream. If the stream implements `PushBatch`, its `Part` has
/// an inherent `push_all` method, which takes precedence over the one in this trait. Otherwise, the
/// stream is written item by item.
pub trait PushAll {
    /// Returns the future that writes the whole stream.
    #[must_use = "futures do nothing unless polled"]
    fn push_all(self) -> Self;
}

impl<T, S, E> PushAll for Part<'_, T, S, E, ItemByItem> {
    fn push_all(self) -> Self {
        self
    }
}

impl<'a, T, S, E> Part<'a, T, S, E, ItemByItem> {
    pub(super) fn new(yielder: &'a Yielder<T>, stream: S, push_next: PushNext<T, S, E>) -> Self {
        Self {
            yielder,
            stream,
            push_next,
            mode: PhantomData,
        }
    }
}

impl<'a, T, S: PushBatch<T>, E> Part<'a, T, S, E, ItemByItem> {
    /// Like [`PushAll::push_all`], but lets the stream itself write the items that are ready.
    pub fn push_all(self) -> Part<'a, T, S, E, Batched> {
        Part {
            yielder: self.yielder,
            stream: self.stream,
            push_next: self.push_next,
            mode: PhantomData,
        }
    }
}

impl<T, S, E, M: Mode<T, S>> Future for Part<'_, T, S, E, M> {
    type Output = Result<(), E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        let mut this = self.project();
        loop {
            // A cancellation point. See `guard`.
            let turn = ready!(coop::poll_proceed(cx));
            let next = match ready!(M::poll_batch(this.yielder, this.stream.as_mut(), cx)) {
                Some(stop) => Some(Ok(stop)),
                None => ready!((this.push_next)(this.yielder, this.stream.as_mut(), cx)),
            };
            turn.made_progress();
            // No waker is needed here. See `Handover`. If the stream returned `Pending` above, it
            // has registered the waker.
            match next {
                Some(Ok(false)) => {}
                Some(Ok(true)) => return Poll::Pending,
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<T, S, E, M> fmt::Debug for Part<'_, T, S, E, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").finish_non_exhaustive()
    }
}
