//! Polls and drops generators, catching their panics.

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

/// Polls the generator and settles the stream once it has ended.
// Inlined because it is called for every event. Without the attribute, the compiler might not
// inline it, because it has a second call site, which starts the generator.
#[inline]
pub(super) fn poll(
    coroutine: &mut Coroutine,
    handoff: &Handoff,
    guard: &CloseGuard,
    endpoint: &Endpoint,
    cx: &mut Context<'_>,
) -> Poll<Settled> {
    // Unwind safety: a panic may leave the generator's state inconsistent, but the generator is
    // never polled again, only dropped. The frames already written are complete.
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

/// Drops a waiting generator. If one of the generator's destructors panics, the panic is logged but
/// does not change how the stream ends.
pub(super) fn drop_generator<G>(generator: G, guard: &CloseGuard, endpoint: &Endpoint) {
    let _entered = guard.enter_span();
    if catch_unwind(AssertUnwindSafe(|| drop(generator))).is_err() {
        tracing::error!(
            endpoint = endpoint.name,
            path = endpoint.path,
            "one of the generator's destructors panicked"
        );
    }
}
