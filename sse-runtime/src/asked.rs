//! [`UntilAsked`]: how a stream hears that it is to end, without looking for it.
//!
//! Whether its token is cancelled is a lock, and two lines of memory that nothing else of an event is in. Streams are asked
//! to end far less often than they send, so those that ask count: a stream looks at its token where somebody was asked since.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll},
};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::registered::Registered;

/// How often streams of this process were asked to end.
static ASKED: AtomicUsize = AtomicUsize::new(0);

/// Asks those to end that hear of this token.
pub(crate) fn ask(token: &CancellationToken) {
    // Before it is cancelled: whoever is woken by that sees the count.
    ASKED.fetch_add(1, Ordering::Release);
    token.cancel();
}

/// Until a stream is asked to end, by [`ask`].
#[derive(Debug)]
pub(crate) struct UntilAsked {
    token: CancellationToken,
    cancelled: Registered<WaitForCancellationFutureOwned>,
    /// The count when the token was looked at last.
    seen: usize,
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
                std::mem::replace(seen, asked) != asked && token.is_cancelled()
            },
            cx,
        )
    }
}
