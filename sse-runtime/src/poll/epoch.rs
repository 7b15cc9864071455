//! A turn of a connection's task, in which its body may be polled more than once.
//!
//! Behind each frame that it has sent the [`takeover`](crate::server::takeover) asks the body for the next. Mostly there is none: the
//! generator was polled a moment ago, with this very waker, and waits for something that wakes it. In the same turn the body
//! knows that, and does not ask it again.
//!
//! It is sound since whatever wakes that waker begins another turn, in which the body looks again. A layer may poll the body
//! from a task, or with a waker, of its own; there it finds no turn, and always looks.

use std::{
    cell::Cell,
    num::{NonZeroU64, NonZeroUsize},
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Waker},
};

thread_local! {
    static CURRENT: Cell<Option<Turn>> = const { Cell::new(None) };
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    number: NonZeroU64,
    waker: WakerId,
}

/// Which waker it is: what [`Waker::will_wake`] compares. It says something of a waker that is alive somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WakerId {
    data: usize,
    vtable: NonZeroUsize,
}

impl WakerId {
    pub(crate) fn of(waker: &Waker) -> Self {
        Self {
            data: waker.data().addr(),
            vtable: NonNull::from(waker.vtable()).addr(),
        }
    }
}

/// The turns of one stream. No two of the process have the same number: a body that one stream was made of may be handed on
/// to the next, in a turn that it knows nothing of.
#[derive(Debug)]
pub(crate) struct PollEpochs(NonZeroU64);

/// How many a stream has before it comes to the numbers of another.
const EACH: u64 = 1 << 32;

impl PollEpochs {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let first = NEXT.fetch_add(EACH, Ordering::Relaxed);
        Self(NonZeroU64::new(first).unwrap_or(NonZeroU64::MIN))
    }

    /// Begins the next, which lasts until the guard is dropped.
    pub(crate) fn enter(&mut self, cx: &Context<'_>) -> Entered {
        self.0 = self.0.saturating_add(1);
        let turn = Turn {
            number: self.0,
            waker: WakerId::of(cx.waker()),
        };
        Entered(CURRENT.replace(Some(turn)))
    }
}

/// Holds the turn that was the current one before.
#[derive(Debug)]
pub(crate) struct Entered(Option<Turn>);

/// The number of the turn in which this waker is polled.
pub(crate) fn current(cx: &Context<'_>) -> Option<NonZeroU64> {
    let turn = CURRENT.get()?;
    (turn.waker == WakerId::of(cx.waker())).then_some(turn.number)
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}
