//! [`RingCursor`]: a reader of a [`Ring`].

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    Ring,
    progress::{Progress, Settled, Stage},
    start::Opening,
};
use crate::{
    event::{gap::Gap, id::EventId},
    topic::{
        Start,
        backend::{Read, Reader},
    },
};

pub(crate) struct RingCursor<T> {
    ring: Arc<Ring<T>>,
    progress: Progress<T>,
}

impl<T> RingCursor<T> {
    /// Creates a cursor. The caller must have reserved `slot` in the ring's waiters.
    pub(crate) fn new(
        ring: Arc<Ring<T>>,
        start: Opening<T>,
        after_gap: Option<Start>,
        slot: u32,
        branch: u32,
    ) -> Self {
        Self {
            ring,
            progress: Progress::new(start, after_gap, slot, branch),
        }
    }
}

impl<T: Send + Sync + 'static> Reader<T> for RingCursor<T> {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Read<T>> {
        let progress = &mut self.progress;
        if let Stage::Gap(_) | Stage::Newest(_) = progress.stage
            && let Some(read) = progress.take_ahead()
        {
            return Poll::Ready(read);
        }
        // Dropped after the lock is released.
        let _evicted;
        let _waker;
        let _replaced;
        let mut state = self.ring.state();
        // Old events are evicted on each publish, but events can also become too old while nothing
        // is published, so evict them on each read as well.
        if self.ring.capacity.age.is_some() {
            let before = state.bytes;
            _evicted = self.ring.evict(&mut state, before);
        }
        let read;
        let settled = match progress.is_in_place(&state) {
            true => Settled::InPlace,
            false => progress.settle(&state),
        };
        match settled {
            Settled::InPlace => (read, _replaced) = progress.take_next(&mut state),
            Settled::Waits => read = None,
            Settled::Jumps(jump) => {
                drop(state);
                return Poll::Ready(Read::Gap(progress.jump(jump)));
            }
            Settled::Detours(reason, detour) => {
                drop(state);
                return match progress.take_detour(reason, detour) {
                    Some(gap) => Poll::Ready(Read::Gap(gap)),
                    None => self.poll_read(cx),
                };
            }
            Settled::Lags => return Poll::Ready(Read::Lagged),
        }
        if let Some(Read::Event { waits: true, .. } | Read::Events { waits: true, .. }) | None =
            read
        {
            _waker = state.waiters.wait(progress.slot as usize, cx);
        }
        read.map_or(Poll::Pending, Poll::Ready)
    }

    fn take_gap(&mut self) -> Option<Gap> {
        self.progress.take_initial_gap()
    }

    fn position(&self) -> EventId {
        let position = self.ring.state().position_after(self.progress.place());
        EventId::position(position.with_reported(self.progress.reported.into()))
    }

    fn is_done(&self) -> bool {
        self.progress.is_done
    }

    fn has_failed(&self) -> bool {
        let state = self.ring.state();
        state.failure.as_ref().is_some_and(|end| !end.is_stop)
    }
}

impl<T> fmt::Debug for RingCursor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingCursor")
            .field("number", &self.progress.number)
            .field("ring", &self.ring)
            .finish_non_exhaustive()
    }
}

impl<T> Drop for RingCursor<T> {
    fn drop(&mut self) {
        let left = self.ring.state().leave(self.progress.slot as usize);
        // Drop these values after releasing the lock, because dropping a waker may drop a task
        // whose destructors acquire the lock.
        drop(left);
    }
}
