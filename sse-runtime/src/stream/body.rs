//! [`SseBody`]: the response body, which drives the generator.
//!
//! Polling the body polls the generator, with no task or queue in between. This design provides
//! backpressure and cancellation: if the client disconnects, hyper drops the body, and the body
//! drops the generator, which stops at its current `.await`.
//!
//! # States
//!
//! ```text
//!                  the function returns, or the stream is closed
//!  Running ------------------------------------------------------> Ended
//!     |                                                              ^
//!     |  a value cannot be sent, a panic, an abort                   |  the error is returned
//!     +----------------------> Failing ------------------------------+
//! ```
//!
//! | state | a poll sends | then |
//! | --- | --- | --- |
//! | `Running` | the generator's events once the flush gate is open, or a keep-alive | `Running` |
//! | `Failing` | the frames written before the failure, then the error once these frames have been flushed | `Ended` |
//! | `Ended` | the remaining frames; then waits up to two seconds for the rest of an unread request body | the end |
//!
//! The generator is dropped when the body leaves the `Running` state. At the same time,
//! [`CloseGuard::end`] records the stream's close reason, releases its permits, cancels its tasks
//! and runs its close hooks. Unsent frames outlive the generator.

use std::{
    mem,
    num::NonZeroU64,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::Frame;
use tokio::task::coop;

use crate::{
    config::Endpoint,
    generator::{
        generator::{Coroutine, Ending, Generator},
        handoff::Handoff,
        outgoing::{Taken, WriteFailure},
    },
    lifecycle::{close_guard::CloseGuard, close_reason::CloseReason, connection::Connection},
    poll::epoch,
    stream::{
        closing::Closing,
        drain::BodyDrain,
        error::StreamError,
        flush_gate::FlushGate,
        keep_alive::KeepAlive,
        mounted::{self, MountedEndpoint},
        request_context::RequestContext,
        settle::{self, Settled},
        unwind,
    },
};

/// The body of a stream. Rarely accessed fields are boxed to keep idle streams small.
#[derive(Debug)]
pub(crate) struct SseBody {
    // Dropped first so that the generator's destructors run before the close hooks.
    state: State,
    handoff: Handoff,
    gate: FlushGate,
    /// Whether the head has been sent. It is sent without waiting for the first event.
    head_sent: bool,
    /// The task poll during which the generator last returned `Pending`. The generator and the
    /// timers have registered that poll's waker, so they do not need to be polled again before the
    /// next task poll.
    waits_in: Option<NonZeroU64>,
    keep_alive: Option<KeepAlive>,
    closing: Closing,
    /// How many times the generator has been polled since one of the stream's tasks panicked.
    polls_after_panic: u16,
    drain: BodyDrain,
    mounted: Arc<MountedEndpoint>,
    // Dropped last so that the stream's tasks outlive the generator.
    guard: CloseGuard,
}

/// The maximum number of times a generator is polled after one of its stream's tasks has panicked.
/// These polls let the generator read the values that the task sent before it panicked. Polling
/// stops earlier if the generator starts to wait.
const MAX_POLLS_AFTER_PANIC: u16 = 1024;

#[derive(Debug)]
enum State {
    /// The generator is running or waiting.
    Running(Coroutine),
    /// The response will be aborted once all frames written before the failure have been flushed.
    Failing(Box<StreamError>),
    /// The generator has been dropped. Some of the generator's frames may still be unsent.
    Ended,
}

impl State {
    /// Returns the state of a stream whose generator has ended.
    fn after(error: Option<Box<StreamError>>) -> Self {
        match error {
            Some(error) => Self::Failing(error),
            None => Self::Ended,
        }
    }
}

impl SseBody {
    /// Creates the body for a generator. If the generator has already ended, `ended` is its
    /// outcome.
    pub(crate) fn new(
        generator: Generator,
        ended: Option<Ending>,
        mut context: RequestContext,
        drain: BodyDrain,
        mounted: &Arc<MountedEndpoint>,
    ) -> Self {
        let MountedEndpoint {
            endpoint, frames, ..
        } = &**mounted;
        if !context.is_head {
            context.guard.record().open();
            context.guard.begin();
        }

        let Generator {
            coroutine, handoff, ..
        } = generator;
        let mut this = Self {
            state: State::Running(coroutine),
            handoff,
            gate: FlushGate::new(context.wire),
            head_sent: false,
            waits_in: None,
            keep_alive: frames.keep_alive.clone().map(KeepAlive::new),
            closing: Closing::new(endpoint, context.guard.connection()),
            polls_after_panic: 0,
            drain,
            mounted: Arc::clone(mounted),
            guard: context.guard,
        };
        if let Some(ending) = ended {
            let settled = settle::generator_ended(ending, &this.handoff, endpoint);
            this.end(settled);
        }
        this
    }

    pub(crate) fn connection(&self) -> &Connection {
        self.guard.connection()
    }

    /// Polls the generator until it first waits. This happens before the response head is sent, so
    /// the subscriptions made in the generator's first statements exist by the time the client
    /// reads the head.
    ///
    /// The waker registered here might differ from the one that later polls of the body use. No
    /// wakeup is lost, because the body polls the generator again, with its own waker, once the
    /// head and the frames written so far have been flushed.
    ///
    /// Returns `false` if the generator isn't waiting but has exhausted the task's budget. In that
    /// case, it must be polled again.
    pub(crate) fn start(&mut self, cx: &mut Context<'_>) -> bool {
        if let State::Running(coroutine) = &mut self.state
            && !self.handoff.has_stopped()
        {
            let entered = (self.guard.enter_span(), self.handoff.enter());
            let polled = unwind::poll(
                coroutine,
                &self.handoff,
                &self.guard,
                &self.mounted.endpoint,
                cx,
            );
            drop(entered);
            if let Poll::Ready(settled) = polled {
                self.end(settled);
                return true;
            }
        }
        self.handoff.has_stopped() || coop::has_budget_remaining()
    }

    /// Takes the chunk to send in the same write as the head. The chunk contains the reconnection
    /// time and the events that the generator has written so far. Returns `None` if the chunk has
    /// already been taken or is empty.
    fn take_first(&mut self) -> Option<Chunk> {
        if self.head_sent {
            return None;
        }
        self.gate.close_for_head();
        let taken = match self.state {
            State::Running(_) => self.handoff.take_unless_failed(),
            // The generator has ended, so there is no write failure left to check for.
            State::Failing(_) | State::Ended => {
                let (bytes, events) = self.handoff.take();
                let waits = false;
                Ok(Taken {
                    bytes,
                    events,
                    waits,
                })
            }
        };
        let (written, events) = match taken {
            Ok(Taken { bytes, events, .. }) => (bytes, events),
            Err(source) => {
                self.fail(source);
                self.handoff.take()
            }
        };
        self.head_sent = true;
        let bytes = match &self.mounted.frames.first {
            Some(first) if written.is_empty() => first.clone(),
            Some(first) => [&first[..], &written].concat().into(),
            None => written,
        };
        (!bytes.is_empty()).then_some(Chunk { bytes, events })
    }
}

impl http_body::Body for SseBody {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let polled = self.poll_chunk(cx);
        if let Poll::Ready(Some(Ok(chunk))) = &polled
            && !self.guard.has_ended()
        {
            self.guard.record().sent(chunk.events, chunk.bytes.len());
        }
        polled.map_ok(|chunk| Frame::data(chunk.bytes))
    }
}

/// The bytes of one body frame, and the number of events in them.
struct Chunk {
    bytes: Bytes,
    events: u64,
}

impl SseBody {
    /// Polls for the next chunk. Returns `None` once the stream has ended.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, StreamError>>> {
        if self.is_known_to_wait(cx) {
            return Poll::Pending;
        }
        if let Err(source) = self.drain.poll_drain(cx)
            && let State::Running(_) = self.state
        {
            return Poll::Ready(Some(Err(self.abort_request(source))));
        }
        if let Some(first) = self.take_first() {
            return Poll::Ready(Some(Ok(first)));
        }
        // Check the deadline and any close request before polling the generator, which may wait
        // forever or, if it always has another frame to send, never wait.
        if let State::Running(_) = self.state {
            let (endpoint, connection) = (&self.mounted.endpoint, self.guard.connection());
            if let Some(reason) = self.closing.poll(endpoint, connection, cx) {
                self.close(reason);
            }
        }
        loop {
            match self.state {
                State::Running(_) => {
                    if let Some(chunk) = ready!(self.poll_running(cx)) {
                        return Poll::Ready(Some(Ok(chunk)));
                    }
                }
                State::Failing(_) => return self.poll_failing(cx),
                State::Ended => return self.poll_ended(cx).map(|chunk| chunk.map(Ok)),
            }
        }
    }

    /// Returns whether the generator was already polled during this task poll and is waiting to be
    /// woken.
    #[inline]
    fn is_known_to_wait(&mut self, cx: &Context<'_>) -> bool {
        if self.waits_in.is_some() && self.waits_in == epoch::current(cx) {
            return true;
        }
        // A layer may poll the body several times during one task poll, each time with a different
        // waker. Polling the generator registers the new waker.
        self.waits_in = None;
        false
    }

    /// Ends a stream whose request was aborted because the client disconnected or sent an invalid
    /// body.
    fn abort_request(&mut self, source: axum::Error) -> StreamError {
        let endpoint = &self.mounted.endpoint;
        let generator = mem::replace(&mut self.state, State::Ended);
        unwind::drop_generator(generator, &self.guard, endpoint);
        self.guard.end(CloseReason::ClientGone);
        StreamError::RequestAborted {
            endpoint: endpoint.name,
            source,
        }
    }

    #[cold]
    fn close(&mut self, reason: CloseReason) {
        // If a task has panicked, keep polling the generator for a while so that it can read the
        // values that the task sent before the panic.
        if reason == CloseReason::Panicked && self.polls_after_panic < MAX_POLLS_AFTER_PANIC {
            self.polls_after_panic += 1;
            return;
        }
        let settled = self.settle(|handoff, endpoint| match reason {
            CloseReason::Panicked => settle::task_panicked(handoff, endpoint),
            _ => settle::closed(reason, false, handoff, endpoint),
        });
        self.end(settled);
    }

    /// Ends a stream that could not send a value.
    #[cold]
    fn fail(&mut self, source: WriteFailure) {
        let settled =
            self.settle(|handoff, endpoint| settle::write_failed(source, handoff, endpoint));
        self.end(settled);
    }

    /// Calls `settle` in the stream's span, because it logs problems.
    fn settle(&self, settle: impl FnOnce(&Handoff, &Endpoint) -> Settled) -> Settled {
        let _entered = self.guard.enter_span();
        settle(&self.handoff, &self.mounted.endpoint)
    }

    /// Polls the generator and takes the frames that it wrote. Returns `None` if the state is not
    /// [`State::Running`] or has just changed.
    #[inline]
    fn poll_running(&mut self, cx: &mut Context<'_>) -> Poll<Option<Chunk>> {
        ready!(self.gate.poll_open(cx));
        let endpoint = &self.mounted.endpoint;
        if let Some(bytes) = self.handoff.take_rest() {
            self.gate
                .close_after(&bytes, false, self.mounted.endpoint.flush);
            return Poll::Ready(Some(Chunk { bytes, events: 0 }));
        }
        let State::Running(coroutine) = &mut self.state else {
            return Poll::Ready(None);
        };
        let entered = (self.guard.enter_span(), self.handoff.enter());
        let polled = unwind::poll(coroutine, &self.handoff, &self.guard, endpoint, cx);
        drop(entered);
        if let Poll::Ready(settled) = polled {
            self.end(settled);
            return Poll::Ready(None);
        }
        match self.handoff.take_unless_failed() {
            Ok(taken) if !taken.bytes.is_empty() => Poll::Ready(Some(self.send(taken, cx))),
            Ok(_) if self.polls_after_panic > 0 => {
                // The generator is waiting, so it has read all the values that the task sent before
                // the panic.
                let settled = self.settle(settle::task_panicked);
                self.end(settled);
                Poll::Ready(None)
            }
            Ok(_) => self.poll_keep_alive(cx).map(Some),
            Err(source) => {
                self.fail(source);
                Poll::Ready(None)
            }
        }
    }

    /// Turns the generator's frames into a chunk, and closes the gate if necessary.
    #[inline]
    fn send(&mut self, taken: Taken, cx: &mut Context<'_>) -> Chunk {
        let Taken {
            bytes,
            events,
            mut waits,
        } = taken;
        if let Some(keep_alive) = &mut self.keep_alive {
            waits &= keep_alive.poll_sent(cx).is_pending();
        }
        self.waits_in = waits.then(|| epoch::current(cx)).flatten();
        self.gate
            .close_after(&bytes, waits, self.mounted.endpoint.flush);
        Chunk { bytes, events }
    }

    fn poll_keep_alive(&mut self, cx: &mut Context<'_>) -> Poll<Chunk> {
        let Some(keep_alive) = &mut self.keep_alive else {
            return Poll::Pending;
        };
        let mut bytes = ready!(keep_alive.poll_due(cx));
        if let Some(id) = self.handoff.take_read_to() {
            bytes = mounted::with_id(&id, &bytes);
        }
        self.gate
            .close_after(&bytes, false, self.mounted.endpoint.flush);
        Poll::Ready(Chunk { bytes, events: 0 })
    }

    /// Sends the frames written before the failure, then returns the error.
    fn poll_failing(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, StreamError>>> {
        if let Some(chunk) = self.take_chunk() {
            self.gate.close();
            return Poll::Ready(Some(Ok(chunk)));
        }
        // Wait for the gate to open before returning the error, because hyper discards its write
        // buffer when a body returns an error.
        ready!(self.gate.poll_open(cx));
        match mem::replace(&mut self.state, State::Ended) {
            State::Failing(error) => {
                self.guard.abort();
                Poll::Ready(Some(Err(*error)))
            }
            State::Running(_) | State::Ended => Poll::Ready(None),
        }
    }

    /// Sends the remaining frames, then waits up to two seconds for the rest of an unread request
    /// body.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Option<Chunk>> {
        if let Some(chunk) = self.take_chunk() {
            return Poll::Ready(Some(chunk));
        }
        self.drain.poll_linger(cx).map(|()| None)
    }

    /// Drops the generator if it still exists, then calls [`CloseGuard::end`]. The unsent frames
    /// are counted first, because ending the stream closes the stream's record.
    fn end(&mut self, settled: Settled) {
        let generator = mem::replace(&mut self.state, State::after(settled.error));
        unwind::drop_generator(generator, &self.guard, &self.mounted.endpoint);
        let (events, mut bytes) = self.handoff.count_rest();
        if !self.head_sent {
            bytes += self.mounted.frames.first.as_ref().map_or(0, Bytes::len);
        }
        if bytes > 0 {
            self.guard.record().sent(events, bytes);
        }
        self.guard.end(settled.reason);
    }

    fn take_chunk(&self) -> Option<Chunk> {
        let (bytes, events) = self.handoff.take();
        (!bytes.is_empty()).then_some(Chunk { bytes, events })
    }
}
