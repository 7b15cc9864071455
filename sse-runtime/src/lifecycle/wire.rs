//! [`Wire`]: what a stream knows of the HTTP/1 connection that it is sent on.

use std::{
    mem,
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use tokio::task;

/// A connection, as the bodies on it know it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wire(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Flushes that have finished.
    flushes: AtomicU64,
    /// Whether somebody waits for one. Whoever waits says so before looking at the count, and whoever has flushed counts
    /// before looking here, so that one of the two sees the other: both are sequentially consistent.
    is_awaited: AtomicBool,
    waiting: Mutex<Waiting>,
    /// The task that drives the connection. A body that a layer polls in another one is not followed by a flush.
    task: OnceLock<task::Id>,
    /// How many event streams are on it.
    streams: AtomicUsize,
    stalled: AtomicBool,
    /// The connection is to be reset when it is closed.
    resets: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    waker: Option<Waker>,
    /// Where a layer has made one response of several bodies, each with a waker of its own.
    others: Vec<Waker>,
}

impl Wire {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// An event stream begins, or what stands before its response.
    pub(crate) fn enter(&self) -> InFlight {
        self.0.streams.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// How many flushes have finished.
    pub(crate) fn flushes(&self) -> u64 {
        self.0.flushes.load(Ordering::SeqCst)
    }

    /// Whether the connection was given up because its client took nothing.
    pub(crate) fn is_stalled(&self) -> bool {
        self.0.stalled.load(Ordering::Relaxed)
    }

    /// Closes the connection with a reset: its client would take any other end for that of the response.
    pub(crate) fn reset_when_closed(&self) {
        self.0.resets.store(true, Ordering::Relaxed);
    }

    /// Whether [`reset_when_closed`](Self::reset_when_closed) was called.
    pub(crate) fn is_reset_when_closed(&self) -> bool {
        self.0.resets.load(Ordering::Relaxed)
    }

    pub(crate) fn set_stalled(&self) {
        self.0.stalled.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_streams(&self) -> bool {
        self.0.streams.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn finish_flush(&self) {
        if self.0.task.get().is_none()
            && let Some(task) = task::try_id()
        {
            self.0.task.get_or_init(|| task);
        }
        self.0.flushes.fetch_add(1, Ordering::SeqCst);
        let is_awaited = &self.0.is_awaited;
        if !is_awaited.load(Ordering::SeqCst) || !is_awaited.swap(false, Ordering::SeqCst) {
            return;
        }
        let waiting = mem::take(&mut *self.waiting());
        for waker in waiting.waker.into_iter().chain(waiting.others) {
            waker.wake();
        }
    }

    /// Ready once a flush has finished since the count was `since`; `None` outside of the connection's task, where the
    /// flush of a frame may be long over when its body is polled again, and none may follow.
    pub(crate) fn poll_flushed_after(&self, since: u64, cx: &Context<'_>) -> Option<Poll<()>> {
        if self.flushes() > since {
            return Some(Poll::Ready(()));
        }
        if self.0.task.get().is_some() && self.0.task.get() != task::try_id().as_ref() {
            return None;
        }
        let waker = cx.waker();
        let mut waiting = self.waiting();
        let Waiting {
            waker: first,
            others,
        } = &mut *waiting;
        match first {
            None => *first = Some(waker.clone()),
            Some(first) if first.will_wake(waker) => {}
            Some(_) if others.iter().any(|other| other.will_wake(waker)) => {}
            Some(_) => others.push(waker.clone()),
        }
        drop(waiting);
        self.0.is_awaited.store(true, Ordering::SeqCst);
        if self.flushes() > since {
            return Some(Poll::Ready(()));
        }
        Some(Poll::Pending)
    }
}

/// An event stream on a connection, as long as it lives.
#[derive(Debug)]
pub(crate) struct InFlight(Wire);

impl Deref for InFlight {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}
