//! [`Prelude`]: runs the statements that precede the response.

use std::{
    any::Any,
    future::{pending, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::{Context, Poll, ready},
    thread,
};

use tokio::{task::coop, time::sleep};

use crate::{
    config::Endpoint,
    generator::{
        generator::{Ending, Generator},
        outgoing::Returning,
    },
    lifecycle::{close_guard::CloseGuard, close_reason::CloseReason},
    poll::poll_unconstrained,
    stream::drain::BodyDrain,
};

/// The number of task polls after which the head is sent even if the generator does not wait. A
/// generator that awaits only ready futures uses up the task's budget but never counts as waiting.
/// Without this limit, the response head would never be sent.
pub(super) const TURNS_BEFORE_HEAD: u32 = 64;

/// How the statements that precede the response ended.
pub(super) enum Before {
    /// The response begins.
    Begun,
    Ended(Ending),
    /// The client has already received the end of the stream.
    Done,
    /// The stream was closed externally.
    Closed(CloseReason),
    ClientGone,
    Panicked(Box<dyn Any + Send>),
}

/// Polls the generator until the response begins or it is clear that there will be no stream.
pub(super) struct Prelude<'a> {
    generator: &'a mut Generator,
    drain: &'a mut BodyDrain,
    guard: &'a CloseGuard,
    /// Whether the client sent the id of a finished stream. If so, the response depends on the
    /// topic, which must check the id first.
    waits_for_topic: bool,
    /// Whether the generator has reached the point where the response begins. The generator pauses
    /// there once.
    passed_mark: bool,
    /// The number of turns left before the generator is considered to be waiting.
    turns: u32,
}

impl<'a> Prelude<'a> {
    pub(super) fn new(
        generator: &'a mut Generator,
        drain: &'a mut BodyDrain,
        guard: &'a CloseGuard,
        waits_for_topic: bool,
    ) -> Self {
        Self {
            generator,
            drain,
            guard,
            waits_for_topic,
            passed_mark: false,
            turns: TURNS_BEFORE_HEAD,
        }
    }

    pub(super) async fn run(mut self, endpoint: &Endpoint) -> Before {
        let connection = self.guard.connection();
        let mut until_end = pin!(connection.until_end(endpoint.when_shut_down()));
        // The response to a client that has received the end of a stream may be a `204`.
        let head_after = endpoint.head_after.filter(|_| !self.waits_for_topic);
        let mut until_late = pin!(async {
            match head_after {
                Some(limit) => sleep(limit).await,
                None => pending().await,
            }
        });
        // The timers must work even if the generator has used up the task's budget.
        poll_fn(|cx| {
            if let Poll::Ready(before) = self.poll(cx) {
                return Poll::Ready(before);
            }
            if let Poll::Ready(reason) = poll_unconstrained(until_end.as_mut(), cx) {
                return Poll::Ready(Before::Closed(reason));
            }
            ready!(poll_unconstrained(until_late.as_mut(), cx));
            self.generator.handoff.begin();
            Poll::Ready(Before::Begun)
        })
        .await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Before> {
        if self.drain.poll_drain(cx).is_err() {
            return Poll::Ready(Before::ClientGone);
        }
        let polled = loop {
            let polled = self.poll_generator(cx);
            let handoff = &self.generator.handoff;
            match handoff.returning() {
                Returning::Stops => return Poll::Ready(Before::Done),
                Returning::Reads => break polled,
                // The generator has written a frame without using this id to read a topic. The
                // handler must therefore have created the id, so no topic needs to check it.
                Returning::Unknown if handoff.is_written_to() => return Poll::Ready(Before::Done),
                Returning::Unknown
                    if !self.passed_mark
                        && matches!(polled, Ok(Poll::Pending))
                        && handoff.has_begun() =>
                {
                    self.passed_mark = true;
                }
                Returning::Unknown => break polled,
            }
        };
        match polled {
            Err(panic) => Poll::Ready(Before::Panicked(panic)),
            Ok(Poll::Ready(ending)) => Poll::Ready(Before::Ended(ending)),
            Ok(Poll::Pending) if self.waits_for_topic => self.poll_topic(cx),
            Ok(Poll::Pending) if self.generator.handoff.has_begun() => Poll::Ready(Before::Begun),
            Ok(Poll::Pending) => Poll::Pending,
        }
    }

    fn poll_generator(&mut self, cx: &mut Context<'_>) -> thread::Result<Poll<Ending>> {
        let _entered = (self.guard.span().enter(), self.generator.handoff.enter());
        let coroutine = &mut self.generator.coroutine;
        let connection = self.guard.connection();
        catch_unwind(AssertUnwindSafe(|| coroutine.poll(connection, cx)))
    }

    /// Waits until the generator reads a topic, which checks the client's id.
    fn poll_topic(&mut self, cx: &mut Context<'_>) -> Poll<Before> {
        let handoff = &self.generator.handoff;
        match handoff.returning() {
            Returning::Reads => Poll::Ready(Before::Begun),
            Returning::Stops => Poll::Pending,
            Returning::Unknown if self.generator.prelude && !handoff.has_begun() => Poll::Pending,
            // If the run has failed, the failure is reported even to a client that has already
            // received the end of the stream.
            Returning::Unknown if handoff.has_failure() => Poll::Ready(Before::Begun),
            // The generator is waiting for something other than a topic, so no topic will check the
            // id.
            Returning::Unknown if coop::has_budget_remaining() || self.turns == 0 => {
                Poll::Ready(Before::Done)
            }
            // The generator is not waiting but has used up the task's budget, so poll it again on
            // the next turn.
            Returning::Unknown => {
                self.turns -= 1;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}
