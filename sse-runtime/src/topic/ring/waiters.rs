//! [`Waiters`]: the wakers of a ring's readers.

use std::{
    collections::BTreeSet,
    task::{Context, Waker},
};

/// One place per reader for its waker, so that a publisher goes through all readers once.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    pub(super) waiting: Vec<Option<Waker>>,
    /// Places without a reader. The last place is never among them.
    free: BTreeSet<usize>,
}

impl Waiters {
    pub(crate) fn enter(&mut self) -> usize {
        if let Some(place) = self.free.pop_first() {
            return place;
        }
        self.waiting.push(None);
        self.waiting.len() - 1
    }

    pub(crate) fn leave(&mut self, place: usize) -> Option<Waker> {
        let waker = self.waiting[place].take();
        self.free.insert(place);
        // When many readers leave, their places are removed, so that publishers do not go through
        // them.
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

    /// Registers a waker. Returns the one that it replaces, if that is another task's.
    #[inline]
    pub(crate) fn wait(&mut self, place: usize, cx: &Context<'_>) -> Option<Waker> {
        match &mut self.waiting[place] {
            Some(waker) if waker.will_wake(cx.waker()) => None,
            place => place.replace(cx.waker().clone()),
        }
    }

    #[inline]
    pub(crate) fn take_waiting(&mut self) -> Vec<Waker> {
        // A publish allocates once, however many readers there are.
        let mut waiting = Vec::with_capacity(self.waiting.len());
        waiting.extend(self.waiting.iter_mut().filter_map(Option::take));
        waiting
    }

    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.waiting.len() - self.free.len()
    }
}
