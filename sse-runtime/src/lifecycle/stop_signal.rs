//! [`StopSignal`]: notifies a stream that it must end, without the cost of checking a token in
//! every poll.
//!
//! Checking a cancellation token takes a lock and touches two otherwise cold cache lines, and
//! streams are polled far more often than they are stopped. [`signal_stop`] therefore also updates
//! a process-wide counter. A stream checks its own token only while a cancellation is in
//! progress anywhere in the process, plus once after the counter changes.

use std::{
    mem,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::poll::cached::CachedPoll;

/// The low 16 bits count the tokens currently being cancelled. The other bits count the tokens
/// already cancelled.
static SIGNALLED: AtomicU64 = AtomicU64::new(0);

/// The increment per cancelled token.
const ONE: u64 = 1 << 16;

/// Cancels a token, which ends the streams that listen to it.
pub(crate) fn signal_stop(token: &CancellationToken) {
    // A stream may be polled between any two of these steps. While the token is being cancelled,
    // the low bits are nonzero, so every stream checks its token. Afterwards, the count differs
    // from the one stored by the stream.
    SIGNALLED.fetch_add(1, Ordering::AcqRel);
    let _signalling = Signalling;
    token.cancel();
}

/// When dropped, counts the cancellation as complete, even if a waker has panicked.
struct Signalling;

impl Drop for Signalling {
    fn drop(&mut self) {
        SIGNALLED.fetch_add(ONE - 1, Ordering::AcqRel);
    }
}

/// A signal that becomes ready once its token has been cancelled by [`signal_stop`].
#[derive(Debug)]
pub(crate) struct StopSignal {
    token: CancellationToken,
    cancelled: CachedPoll<WaitForCancellationFutureOwned>,
    /// The count when the token was last checked.
    seen: u64,
}

impl StopSignal {
    pub(crate) fn new(token: CancellationToken) -> Self {
        Self {
            seen: SIGNALLED.load(Ordering::Acquire),
            cancelled: CachedPoll::new(token.clone().cancelled_owned()),
            token,
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self {
            token,
            cancelled,
            seen,
        } = self;
        cancelled.poll_where(
            |_| {
                let signalled = SIGNALLED.load(Ordering::Acquire);
                let is_news =
                    mem::replace(seen, signalled) != signalled || !signalled.is_multiple_of(ONE);
                is_news && token.is_cancelled()
            },
            cx,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Barrier,
            atomic::{AtomicBool, Ordering},
        },
        task::Waker,
        thread,
    };

    use super::*;

    #[test]
    fn signal_is_seen_when_polled_during_cancellation() {
        for _ in 0..50 {
            // Cancelling this many child tokens takes long enough for a poll to happen in the
            // meantime.
            let all = CancellationToken::new();
            let crowd: Vec<_> = (0..1_000).map(|_| all.child_token()).collect();
            let mut until = StopSignal::new(all.child_token());
            let (begin, was_asked) = (Barrier::new(2), AtomicBool::new(false));
            let hears = thread::scope(|scope| {
                let looking = scope.spawn(|| {
                    let mut cx = Context::from_waker(Waker::noop());
                    assert!(until.poll(&mut cx).is_pending());
                    begin.wait();
                    while !was_asked.load(Ordering::Acquire) {
                        if until.poll(&mut cx).is_ready() {
                            return true;
                        }
                    }
                    until.poll(&mut cx).is_ready()
                });
                begin.wait();
                signal_stop(&all);
                was_asked.store(true, Ordering::Release);
                looking.join().unwrap()
            });
            assert!(hears);
            drop(crowd);
        }
    }
}
