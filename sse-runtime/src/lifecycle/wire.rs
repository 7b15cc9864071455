//! [`Wire`]: the HTTP/1 connection state shared with the streams on the connection.

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

/// The connection state shared with the bodies sent on the connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wire(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// The number of completed flushes.
    flushes: AtomicU64,
    /// Whether a body is waiting for a flush. A waiting body sets this flag before it reads the
    /// count. After a flush, the count is incremented before this flag is read. All of these
    /// accesses are sequentially consistent, so at least one side sees the other side's write, and
    /// no wakeup is missed.
    is_awaited: AtomicBool,
    waiting: Mutex<Waiting>,
    /// The task that drives the connection. If a layer polls a body in another task, a frame might
    /// not be followed by a flush, so the body does not wait for one.
    task: OnceLock<task::Id>,
    /// The number of event streams on the connection.
    streams: AtomicUsize,
    stalled: AtomicBool,
    /// Whether closing the connection resets it.
    resets: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    waker: Option<Waker>,
    /// The wakers of additional bodies, if a layer has merged several bodies into one response.
    others: Vec<Waker>,
}

impl Wire {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an event stream until the returned value is dropped. Called before the response
    /// begins.
    pub(crate) fn enter(&self) -> InFlight {
        self.0.streams.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// Returns the number of completed flushes.
    pub(crate) fn flushes(&self) -> u64 {
        self.0.flushes.load(Ordering::SeqCst)
    }

    /// Returns whether the connection was closed because its client stopped reading.
    pub(crate) fn is_stalled(&self) -> bool {
        self.0.stalled.load(Ordering::Relaxed)
    }

    /// Makes the connection close with a reset. The client would mistake an ordinary close for the
    /// end of a complete response.
    pub(crate) fn reset_when_closed(&self) {
        self.0.resets.store(true, Ordering::Relaxed);
    }

    /// Returns whether [`reset_when_closed`](Self::reset_when_closed) was called.
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

    /// Returns `Ready` if more than `since` flushes have been completed, or `None` outside the
    /// connection's task. In another task, a frame may be flushed long before its body is polled
    /// again. If the body then waited for another flush, it might wait forever.
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

/// A guard that counts an event stream on its connection until the guard is dropped.
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
