//! [`UntilAsked`]: how a stream hears that it is to end, without looking for it.
//!
//! Whether its token is cancelled is a lock, and two lines of memory that nothing else of an event is in. Streams are asked
//! to end far less often than they send, so those that ask say so in one place for all: a stream looks at its token while
//! somebody is being asked, and where somebody was since it looked last.

use std::{
    mem,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::poll::cached::Registered;

/// How many streams are being asked, in the low bits, and how many have been.
static ASKED: AtomicU64 = AtomicU64::new(0);

/// What is added for one that has been asked.
const ONE: u64 = 1 << 16;

/// Asks those to end that hear of this token.
pub(crate) fn ask(token: &CancellationToken) {
    // A stream may be polled between any two of these. As long as it is being asked it looks at its token, whatever it has seen
    // before; and once it has been, there is something that it has not seen.
    ASKED.fetch_add(1, Ordering::AcqRel);
    let _asking = Asking;
    token.cancel();
}

/// Dropped when it is over, also where a waker panics.
struct Asking;

impl Drop for Asking {
    fn drop(&mut self) {
        ASKED.fetch_add(ONE - 1, Ordering::AcqRel);
    }
}

/// Until a stream is asked to end, by [`ask`].
#[derive(Debug)]
pub(crate) struct UntilAsked {
    token: CancellationToken,
    cancelled: Registered<WaitForCancellationFutureOwned>,
    /// What was said when the token was looked at last.
    seen: u64,
}

impl UntilAsked {
    pub(crate) fn new(token: CancellationToken) -> Self {
        Self {
            seen: ASKED.load(Ordering::Acquire),
            cancelled: Registered::new(token.clone().cancelled_owned()),
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
                let asked = ASKED.load(Ordering::Acquire);
                let is_news = mem::replace(seen, asked) != asked || !asked.is_multiple_of(ONE);
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
            // To cancel it takes a while, since there are many.
            let all = CancellationToken::new();
            let crowd: Vec<_> = (0..1_000).map(|_| all.child_token()).collect();
            let mut until = UntilAsked::new(all.child_token());
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
                ask(&all);
                was_asked.store(true, Ordering::Release);
                looking.join().unwrap()
            });
            assert!(hears);
            drop(crowd);
        }
    }
}
