//! Alternatives to `.await`. They skip polls that are known to return `Pending`, or they poll
//! outside the task's cooperative budget.

pub(crate) mod cached;
pub(crate) mod epoch;

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::task::coop::unconstrained;

/// Polls a future, such as a timer, outside the task's cooperative budget.
pub(crate) fn poll_unconstrained<F: Future>(
    timer: Pin<&mut F>,
    cx: &mut Context<'_>,
) -> Poll<F::Output> {
    Pin::new(&mut unconstrained(timer)).poll(cx)
}
