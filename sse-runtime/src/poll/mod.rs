//! Ways to poll a future other than `.await`, which skip polls that would return `Pending`, or poll
//! outside the task's cooperative budget.

pub(crate) mod cached;
pub(crate) mod epoch;

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::task::coop::unconstrained;

/// Polls a timer, or another future, outside the task's cooperative budget.
pub(crate) fn poll_unconstrained<F: Future>(
    timer: Pin<&mut F>,
    cx: &mut Context<'_>,
) -> Poll<F::Output> {
    Pin::new(&mut unconstrained(timer)).poll(cx)
}
