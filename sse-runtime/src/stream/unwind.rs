//! Polls and drops a generator, and catches its panics.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Context, Poll},
};

use crate::{
    config::Endpoint,
    generator::{generator::Coroutine, handoff::Handoff},
    lifecycle::{close_guard::CloseGuard, close_reason::CloseReason},
    stream::{
        error::StreamError,
        settle::{self, Settled},
    },
};

/// Polls the generator. Once it has ended, settles the stream.
// Inlined because it runs for each event, although it is also called when the generator is started.
#[inline]
pub(super) fn poll(
    coroutine: &mut Coroutine,
    handoff: &Handoff,
    guard: &CloseGuard,
    endpoint: &Endpoint,
    cx: &mut Context<'_>,
) -> Poll<Settled> {
    // Unwind safety: state that a panic may have left inconsistent is never used again, because the
    // generator is dropped with all its state. The frames that it has written are complete.
    let polled = catch_unwind(AssertUnwindSafe(|| {
        let ended = coroutine.poll(guard.connection(), cx);
        ended.map(|ending| settle::generator_ended(ending, handoff, endpoint))
    }));
    let Ok(polled) = polled else {
        tracing::error!(
            endpoint = endpoint.name,
            path = endpoint.path,
            "the generator panicked; aborting the response"
        );
        let error = StreamError::Panicked {
            endpoint: endpoint.name,
        };
        return Poll::Ready(Settled::aborted(CloseReason::Panicked, error));
    };
    polled
}

/// Drops a generator that is waiting. A panic in one of its destructors does not change how the
/// stream ends.
pub(super) fn drop_generator<G>(generator: G, guard: &CloseGuard, endpoint: &Endpoint) {
    let _entered = guard.enter_span();
    if catch_unwind(AssertUnwindSafe(|| drop(generator))).is_err() {
        tracing::error!(
            endpoint = endpoint.name,
            path = endpoint.path,
            "a destructor of the generator panicked"
        );
    }
}
