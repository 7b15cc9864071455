//! [`Waiters`]: the wakers of a ring's readers.

use std::{
    collections::BTreeSet,
    task::{Context, Waker},
};

/// One waker slot per reader. Each publish iterates over all slots once.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    pub(super) waiting: Vec<Option<Waker>>,
    /// The slots without a reader. The last slot is never free.
    free: BTreeSet<usize>,
}

impl Waiters {
    pub(crate) fn enter(&mut self) -> usize {
        if let Some(slot) = self.free.pop_first() {
            return slot;
        }
        self.waiting.push(None);
        self.waiting.len() - 1
    }

    pub(crate) fn leave(&mut self, slot: usize) -> Option<Waker> {
        let waker = self.waiting[slot].take();
        self.free.insert(slot);
        // Remove the trailing free slots. Otherwise, each publish would still iterate over the
        // slots of readers that have left.
        while let Some(last) = self.waiting.len().checked_sub(1)
            && self.free.remove(&last)
        {
            self.waiting.pop();
        }
        if self.waiting.capacity() > 4 * self.waiting.len().max(16) {
            self.waiting.shrink_to(2 * self.waiting.len());
        }
        waker
    }

    /// Registers a waker. Returns the previous waker if it belongs to another task.
    #[inline]
    pub(crate) fn wait(&mut self, slot: usize, cx: &Context<'_>) -> Option<Waker> {
        match &mut self.waiting[slot] {
            Some(waker) if waker.will_wake(cx.waker()) => None,
            slot => slot.replace(cx.waker().clone()),
        }
    }

    #[inline]
    pub(crate) fn take_waiting(&mut self) -> Vec<Waker> {
        // Reserve capacity for all wakers up front so that each publish allocates only once,
        // regardless of the number of readers.
        let mut waiting = Vec::with_capacity(self.waiting.len());
        waiting.extend(self.waiting.iter_mut().filter_map(Option::take));
        waiting
    }

    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.waiting.len() - self.free.len()
    }
}
