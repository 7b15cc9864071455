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
    /// the next item and stops at the first error. If several topic events are ready, it writes
    /// them together. See [`ItemByItem`].
    ///
    /// The future is implemented by hand, because an `async` block would store the stream twice:
    /// once as a captured variable and once as a pinned value.
    // `Part` needs no bounds, because it pushes items through function pointers. The compiler
    // therefore reports an unmet bound only at the call that creates the future, not again at
    // `push_all` or at the await.
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

/// How a [`Part`] writes its stream.
pub trait Mode<T, S> {
    /// Polls the stream and writes all items that are ready. Returns whether the generator must stop
    /// after them, or `None` if the next item must be read by itself.
    #[doc(hidden)]
    fn poll_ready(
        yielder: &Yielder<T>,
        stream: Pin<&mut S>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<bool>>;
}

/// Every item is read by itself.
#[derive(Debug)]
pub enum OneByOne {}

impl<T, S> Mode<T, S> for OneByOne {
    fn poll_ready(_: &Yielder<T>, _: Pin<&mut S>, _: &mut Context<'_>) -> Poll<Option<bool>> {
        Poll::Ready(None)
    }
}

/// The stream writes all items that are ready.
#[derive(Debug)]
pub enum AllReady {}

impl<T, S: PushReady<T>> Mode<T, S> for AllReady {
    fn poll_ready(
        yielder: &Yielder<T>,
        stream: Pin<&mut S>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<bool>> {
        stream.poll_push(yielder, cx)
    }
}

/// A stream that can write several items at once.
pub trait PushReady<T> {
    /// Writes all items that are ready. Returns whether the generator must stop after them, or
    /// `None` if the next item must be read by itself, because it is an error or the stream has
    /// ended.
    #[doc(hidden)]
    fn poll_push(
        self: Pin<&mut Self>,
        yielder: &Yielder<T>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<bool>>;
}

/// Selects how `yield_all!` writes a stream. If the stream's `Part` has an inherent `push_all`
/// method, that method takes precedence over the one in this trait. Otherwise, the stream is
/// written item by item.
pub trait ItemByItem {
    /// Returns the future that writes the whole stream.
    #[must_use = "futures do nothing unless polled"]
    fn push_all(self) -> Self;
}

impl<T, S, E> ItemByItem for Part<'_, T, S, E, OneByOne> {
    fn push_all(self) -> Self {
        self
    }
}

impl<'a, T, S, E> Part<'a, T, S, E, OneByOne> {
    pub(super) fn new(yielder: &'a Yielder<T>, stream: S, push_next: PushNext<T, S, E>) -> Self {
        Self {
            yielder,
            stream,
            push_next,
            mode: PhantomData,
        }
    }

    /// Lets the stream write all items that are ready.
    pub(crate) fn all_ready(self) -> Part<'a, T, S, E, AllReady> {
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
            let next = match ready!(M::poll_ready(this.yielder, this.stream.as_mut(), cx)) {
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
