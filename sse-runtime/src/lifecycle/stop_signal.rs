//! [`StopSignal`]: how a stream learns that it must end, without looking for it at each poll.
//!
//! Checking a cancellation token takes a lock and touches two cache lines that nothing else of an event touches. Streams
//! are told to stop far less often than they send, so [`signal_stop`] also counts in one place for the whole process. A
//! stream looks at its token only while some token is being cancelled, and once after the count has moved.

use std::{
    mem,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::poll::cached::CachedPoll;

/// The number of tokens that are being cancelled, in the low bits, and of those that have been, above.
static SIGNALLED: AtomicU64 = AtomicU64::new(0);

/// One token that has been cancelled.
const ONE: u64 = 1 << 16;

/// Cancels a token, and with it the streams that listen to it.
pub(crate) fn signal_stop(token: &CancellationToken) {
    // A stream may be polled between any two of these steps. While the token is being cancelled, the stream looks at it
    // whatever it has seen before; afterwards the count differs from the one that the stream has seen.
    SIGNALLED.fetch_add(1, Ordering::AcqRel);
    let _signalling = Signalling;
    token.cancel();
}

/// Counts the cancellation as done when dropped, also if a waker panics.
struct Signalling;

impl Drop for Signalling {
    fn drop(&mut self) {
        SIGNALLED.fetch_add(ONE - 1, Ordering::AcqRel);
    }
}

/// Ready once a token has been cancelled by [`signal_stop`].
#[derive(Debug)]
pub(crate) struct StopSignal {
    token: CancellationToken,
    cancelled: CachedPoll<WaitForCancellationFutureOwned>,
    /// The count when the token was last looked at.
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
    fn whoever_is_looked_at_while_it_is_asked_hears_of_it_all_the_same() {
        for _ in 0..50 {
            // Cancelling takes a while, since there are many child tokens.
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
