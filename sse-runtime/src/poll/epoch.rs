//! Poll epochs. A body uses them to determine whether it has already been polled during the current
//! poll of its connection's task.
//!
//! The [`takeover`](crate::server::takeover) sends a frame and then polls the body for the next
//! one. Usually there is no next frame yet, because the generator was polled a moment ago with the
//! same waker and is still waiting to be woken. The body stores the epoch of that poll and does not
//! poll the generator again in the same epoch.
//!
//! Skipping the second poll is correct, because waking that waker causes the connection's task to
//! be polled again. That poll begins another epoch, in which the body polls the generator. A layer
//! may poll the body from another task or with another waker. In that case, there is no current
//! epoch, and the body always polls the generator.

use std::{
    cell::Cell,
    num::{NonZeroU64, NonZeroUsize},
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Waker},
};

thread_local! {
    static CURRENT: Cell<Option<PollEpoch>> = const { Cell::new(None) };
}

#[derive(Clone, Copy, Debug)]
struct PollEpoch {
    number: NonZeroU64,
    waker: WakerId,
}

/// The identity of a waker, as compared by [`Waker::will_wake`]. The identity is meaningful only
/// while a clone of the waker exists, because the waker's address may be reused afterwards.
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

/// The epochs of one stream on its connection. Their numbers are unique within the process.
/// Otherwise, if a body moved to another connection's task, its stored number might match one of
/// that task's epochs.
#[derive(Debug)]
pub(crate) struct PollEpochs(NonZeroU64);

/// The number of epochs reserved for each stream.
const EPOCHS_PER_STREAM: u64 = 1 << 32;

impl PollEpochs {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let first = NEXT.fetch_add(EPOCHS_PER_STREAM, Ordering::Relaxed);
        Self(NonZeroU64::new(first).unwrap_or(NonZeroU64::MIN))
    }

    /// Begins the next epoch, which lasts until the guard is dropped.
    pub(crate) fn enter(&mut self, cx: &Context<'_>) -> EpochGuard {
        self.0 = self.0.saturating_add(1);
        let epoch = PollEpoch {
            number: self.0,
            waker: WakerId::of(cx.waker()),
        };
        EpochGuard(CURRENT.replace(Some(epoch)))
    }
}

/// Restores the previous epoch when dropped.
#[derive(Debug)]
pub(crate) struct EpochGuard(Option<PollEpoch>);

/// Returns the current epoch's number, or `None` if there is no current epoch or if that epoch
/// belongs to another waker.
pub(crate) fn current(cx: &Context<'_>) -> Option<NonZeroU64> {
    let epoch = CURRENT.get()?;
    (epoch.waker == WakerId::of(cx.waker())).then_some(epoch.number)
}

impl Drop for EpochGuard {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}
