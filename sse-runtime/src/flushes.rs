//! When a frame has been handed to the kernel, and the generator may go on.
//!
//! hyper pulls a body faster than the socket takes it, and "return `Pending` once and wake yourself" is no flush: when
//! the socket's write is pending, the generator would be polled first. Under [`serve`](crate::serve) the socket counts
//! its finished flushes, and the body waits for the count to move. Elsewhere, on HTTP/2, where many streams share a
//! socket, and where a layer polls the body in another task than the connection's, the body stands aside once for
//! hyper to write, which is best effort.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task,
};

/// Counts the flushes of one connection that have finished.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flushes(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    finished: u64,
    waiting: Option<Waker>,
    /// The task that drives the connection. A body that a layer polls in another one is not followed by a flush.
    task: Option<task::Id>,
}

impl Flushes {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish_one(&self) {
        let mut state = self.lock();
        state.finished += 1;
        state.task = task::try_id();
        let waiting = state.waiting.take();
        drop(state);
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    /// Ready once a flush has finished since the count was `since`; `None` outside of the connection's task, where the
    /// flush of a frame may be long over when its body is polled again, and none may follow.
    fn poll_after(&self, since: u64, cx: &Context<'_>) -> Option<Poll<()>> {
        let mut state = self.lock();
        if state.finished > since {
            return Some(Poll::Ready(()));
        }
        if state.task.is_some() && state.task != task::try_id() {
            return None;
        }
        // The count and the waker are under one lock, so a flush that finishes now sees the waker.
        match &mut state.waiting {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Some(Poll::Pending)
    }
}

/// Closed behind each frame, open again when it has been flushed.
#[derive(Debug)]
pub(crate) struct Gate {
    flushes: Option<Flushes>,
    state: GateState,
}

#[derive(Debug)]
enum GateState {
    Open,
    /// Until a flush finishes after this one.
    Flush(u64),
    /// Until hyper had its turn.
    Turn,
}

impl Gate {
    /// A gate that is open; without a count of flushes it is best effort.
    pub(crate) fn new(flushes: Option<Flushes>) -> Self {
        Self {
            flushes,
            state: GateState::Open,
        }
    }

    pub(crate) fn close(&mut self) {
        self.state = match &self.flushes {
            // hyper encodes a frame into its buffer before it polls or flushes again, and a flush finishes only when
            // that buffer is empty: the next one to finish has taken the frame along.
            Some(flushes) => GateState::Flush(flushes.lock().finished),
            None => GateState::Turn,
        };
    }

    pub(crate) fn poll_open(&mut self, cx: &Context<'_>) -> Poll<()> {
        let counted = match (&self.state, &self.flushes) {
            (GateState::Open, _) => return Poll::Ready(()),
            (GateState::Flush(since), Some(flushes)) => flushes.poll_after(*since, cx),
            _ => None,
        };
        match counted {
            Some(Poll::Pending) => Poll::Pending,
            Some(Poll::Ready(())) => {
                self.state = GateState::Open;
                Poll::Ready(())
            }
            None => {
                self.state = GateState::Open;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

/// A socket that counts its flushes.
#[derive(Debug)]
pub(crate) struct FlushCounting<Io> {
    io: Io,
    flushes: Flushes,
}

impl<Io> FlushCounting<Io> {
    pub(crate) fn new(io: Io) -> Self {
        Self {
            io,
            flushes: Flushes::default(),
        }
    }

    pub(crate) fn flushes(&self) -> &Flushes {
        &self.flushes
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for FlushCounting<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for FlushCounting<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        if let Poll::Ready(Ok(())) = flushed {
            self.flushes.finish_one();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
