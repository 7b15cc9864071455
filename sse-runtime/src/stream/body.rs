//! [`SseBody`]: the response body, which drives the generator.
//!
//! The generator runs only when the body is polled, without a task or a queue in between. This
//! provides backpressure and cancellation: if the client disconnects, hyper drops the body, and
//! this drops the generator at the await where it is waiting.
//!
//! # States
//!
//! ```text
//!                  the function returns, or the stream is closed
//!  Running ------------------------------------------------------> Ended
//!     |                                                              ^
//!     |  a value cannot be sent, a panic, a cut                      |  the error is returned
//!     +----------------------> Failing ------------------------------+
//! ```
//!
//! | state | a poll sends | then |
//! | --- | --- | --- |
//! | `Running` | the generator's events once the flush gate is open, or a keep-alive | `Running` |
//! | `Failing` | the frames written before the failure, then the error once these frames have been flushed | `Ended` |
//! | `Ended` | the remaining frames; then waits up to two seconds for an unread request body | the end |
//!
//! The generator is dropped when the body leaves the `Running` state. The stream's span, hooks,
//! limits and metrics end in the same call ([`CloseGuard::end`]). Unsent frames outlive the
//! generator.

use std::{
    mem,
    num::NonZeroU64,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::Frame;
use tokio::{
    task::coop,
    time::{Sleep, sleep, sleep_until},
};

use crate::{
    config::{Endpoint, Flush},
    event::{
        frame::{self, EncodeError},
        gap::Gap,
        id::EventId,
    },
    generator::{
        frame_buffer::DUE,
        generator::{Coroutine, Ending, Generator},
        handoff::Handoff,
        outgoing::{Taken, WriteFailure},
        reading::TopicEnd,
        run_failure::Failure,
    },
    lifecycle::{
        close_guard::CloseGuard,
        close_reason::CloseReason,
        ending::{LastFrame, StreamEnd},
        stop_signal::StopSignal,
    },
    poll::{epoch, poll_unconstrained},
    stream::{
        drain::BodyDrain,
        flush_gate::FlushGate,
        keep_alive::KeepAlive,
        mounted::{self, MountedEndpoint},
        request_context::RequestContext,
    },
};

/// The body of a stream. Fields that most polls do not touch are boxed, so that an idle stream is
/// small.
#[derive(Debug)]
pub(crate) struct SseBody {
    // Dropped first, so that the generator's destructors run before the close hooks.
    state: State,
    handoff: Handoff,
    gate: FlushGate,
    /// Whether the head has been sent. The head does not wait for the first event.
    head_sent: bool,
    /// The task poll in which the generator was last polled and returned `Pending`. The generator
    /// and the timers have registered that poll's waker, so they do not need to be polled again in
    /// the same poll.
    waits_in: Option<NonZeroU64>,
    keep_alive: Option<KeepAlive>,
    deadline: Option<Pin<Box<Sleep>>>,
    /// The signal to end; `None` once it has been seen.
    signal: Option<StopSignal>,
    /// The reason with which the stream closes at its deadline.
    deadline_reason: CloseReason,
    /// How often the generator has been polled since one of the stream's tasks panicked.
    polls_after_panic: u16,
    drain: BodyDrain,
    /// A timer that runs at the end of the stream while the request body is still arriving.
    linger: Option<Pin<Box<Sleep>>>,
    mounted: Arc<MountedEndpoint>,
    // Dropped last, so that the tasks that the stream started end after the generator.
    guard: CloseGuard,
}

/// How long an ended stream waits for the rest of an unread request body.
///
/// hyper closes a connection if part of the request is left unread. If more bytes arrive after
/// that, the kernel sends a reset. A reset discards data that the client has not read yet, such as
/// the last events of the stream.
const LINGER: Duration = Duration::from_secs(2);

/// Maximum number of times that a generator is polled after one of its stream's tasks has panicked,
/// so that it can still read values that the task has sent. The polls stop earlier if the generator
/// waits.
const READS_ON: u16 = 1024;

#[derive(Debug)]
enum State {
    /// The generator runs or waits.
    Running(Coroutine),
    /// The response breaks off once all frames written before the failure have been flushed.
    Failing(Box<StreamError>),
    /// Only data that has already been written is left to send.
    Ended,
}

/// The reason why a response breaks off. The client sees only that the body was cut short; the
/// error is for the server's log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("a value that the endpoint `{endpoint}` yielded could not be sent")]
    Encode {
        endpoint: &'static str,
        source: EncodeError,
    },
    #[error("a client of the endpoint `{endpoint}` missed events")]
    Gap {
        endpoint: &'static str,
        source: Box<Gap>,
    },
    #[error("the stream of the endpoint `{endpoint}` was cut: {reason}")]
    Cut {
        endpoint: &'static str,
        reason: CloseReason,
    },
    #[error("the run that the endpoint `{endpoint}` reads has failed")]
    RunFailed { endpoint: &'static str },
    #[error("the run that the endpoint `{endpoint}` reads was stopped")]
    RunStopped { endpoint: &'static str },
    #[error("the endpoint `{endpoint}` panicked")]
    Panicked { endpoint: &'static str },
    #[error(
        "the endpoint `{endpoint}` ended with the response's error after the response had begun"
    )]
    RejectedTooLate { endpoint: &'static str },
    #[error(
        "a client of the endpoint `{endpoint}` left, or broke off, in the middle of its request"
    )]
    RequestBrokenOff {
        endpoint: &'static str,
        source: axum::Error,
    },
}

impl SseBody {
    /// Creates the body for a generator. If the generator has already ended, `ended` is how it
    /// ended.
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
        let state = match ended {
            None => State::Running(coroutine),
            Some(ending) => {
                let (state, why) = settle(ending, &handoff, endpoint);
                end(&mut context.guard, &handoff, frames.first.as_ref(), why);
                state
            }
        };
        Self {
            state,
            handoff,
            gate: FlushGate::new(context.wire),
            head_sent: false,
            waits_in: None,
            keep_alive: frames.keep_alive.clone().map(KeepAlive::new),
            deadline: endpoint
                .max_duration
                .map(|limit| Box::pin(sleep(spread(limit)))),
            signal: Some(StopSignal::new(context.guard.connection().ending())),
            deadline_reason: CloseReason::MaxDuration,
            polls_after_panic: 0,
            drain,
            linger: None,
            mounted: Arc::clone(mounted),
            guard: context.guard,
        }
    }
}

impl SseBody {
    /// Polls the generator until its first wait, before the response head is sent. This ensures
    /// that the subscriptions made in the generator's first statements exist by the time the client
    /// has read the head.
    ///
    /// The waker registered here may differ from the body's. No wake-up is lost, because the body
    /// polls the generator again once the head, and the frames that the generator has written so
    /// far, have been flushed.
    ///
    /// Returns `false` if the generator is not waiting but has used up the task's budget. In that
    /// case, it must be polled again.
    pub(crate) fn start(&mut self, cx: &mut Context<'_>) -> bool {
        if let State::Running(coroutine) = &mut self.state
            && !self.handoff.has_stopped()
        {
            let entered = (self.guard.enter_span(), self.handoff.enter());
            let polled = poll(
                coroutine,
                &self.handoff,
                &self.guard,
                &self.mounted.endpoint,
                cx,
            );
            drop(entered);
            if let Poll::Ready((ended, why)) = polled {
                self.state = ended;
                let first = self.mounted.frames.first.as_ref();
                end(&mut self.guard, &self.handoff, first, why);
                return true;
            }
        }
        self.handoff.has_stopped() || coop::has_budget_remaining()
    }

    /// Takes the chunk that is sent in the same write as the head: the reconnection time, and the
    /// events that the generator wrote before the head was sent. Returns `None` if the chunk has
    /// already been taken or is empty.
    fn take_first(&mut self) -> Option<Chunk> {
        if mem::replace(&mut self.head_sent, true) {
            return None;
        }
        self.gate.close_for_head();
        let taken = match self.state {
            State::Running(_) => self.handoff.take_unless_failed(),
            // A generator that has ended does not write any more frames.
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
                let why = source.reason();
                self.state = failing(source, &self.handoff, &self.mounted.endpoint);
                let first = self.mounted.frames.first.as_ref();
                end(&mut self.guard, &self.handoff, first, why);
                self.handoff.take()
            }
        };
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

/// Bytes that are sent in one piece, and the number of events in them.
struct Chunk {
    bytes: Bytes,
    events: u64,
}

impl SseBody {
    /// Polls for the next chunk; `None` at the end of the stream.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, StreamError>>> {
        if self.is_known_to_wait(cx) {
            return Poll::Pending;
        }
        if let Err(source) = self.drain.poll_drain(cx)
            && let State::Running(_) = self.state
        {
            return Poll::Ready(Some(Err(self.break_off_request(source))));
        }
        if let Some(first) = self.take_first() {
            return Poll::Ready(Some(Ok(first)));
        }
        // These are checked before the generator is polled, because the generator may wait forever,
        // or may never wait.
        if let State::Running(_) = self.state {
            self.poll_signal(cx);
            self.poll_close(cx);
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

    /// Returns whether the generator was polled earlier in this poll of the task, and is waiting
    /// for something that will wake it.
    #[inline]
    fn is_known_to_wait(&mut self, cx: &Context<'_>) -> bool {
        if self.waits_in.is_some() && self.waits_in == epoch::current(cx) {
            return true;
        }
        // Even in the middle of a task poll, `cx` may contain a waker that isn't registered yet.
        // Polling the generator registers that waker.
        self.waits_in = None;
        false
    }

    /// Ends a stream whose request broke off because the client has disconnected, or sent an
    /// invalid body.
    fn break_off_request(&mut self, source: axum::Error) -> StreamError {
        let endpoint = &self.mounted.endpoint;
        end_generator(&mut self.state, State::Ended, endpoint, &self.guard);
        self.guard.end(CloseReason::ClientGone);
        StreamError::RequestBrokenOff {
            endpoint: endpoint.name,
            source,
        }
    }

    /// Listens for a signal to end. A shutdown may allow the stream to continue until a later time.
    /// That time becomes the stream's deadline.
    #[inline]
    fn poll_signal(&mut self, cx: &mut Context<'_>) {
        if let Some(signal) = &mut self.signal
            && signal.poll(cx).is_ready()
        {
            self.signal = None;
            self.begin_shutdown(cx);
        }
    }

    #[cold]
    fn begin_shutdown(&mut self, cx: &mut Context<'_>) {
        let connection = self.guard.connection();
        let (None, Some(shutdown)) = (connection.asked(), connection.shutdown()) else {
            return;
        };
        let end = shutdown.end(self.mounted.endpoint.when_shut_down());
        let is_earlier = |deadline: &Pin<Box<Sleep>>| end < deadline.deadline();
        if self.deadline.as_ref().is_none_or(is_earlier) {
            self.deadline = Some(Box::pin(sleep_until(end)));
            self.deadline_reason = CloseReason::Shutdown;
        }
        // The stream may still be closed immediately, before that deadline.
        let mut signal = StopSignal::new(connection.asked_in_shutdown());
        if signal.poll(cx).is_pending() {
            self.signal = Some(signal);
        }
    }

    /// Closes the stream if its deadline has passed, or if it was closed from outside.
    #[inline]
    fn poll_close(&mut self, cx: &mut Context<'_>) {
        let is_over =
            |deadline: &mut Pin<Box<Sleep>>| poll_unconstrained(deadline.as_mut(), cx).is_ready();
        let is_over = self.deadline.as_mut().is_some_and(is_over);
        // A reason from outside takes precedence over the deadline. Such a reason cannot exist
        // before the signal has been seen.
        let asked = match self.signal {
            Some(_) => None,
            None => self.guard.connection().asked(),
        };
        if let Some(reason) = asked.or(is_over.then_some(self.deadline_reason)) {
            self.close(reason);
        }
    }

    #[cold]
    fn close(&mut self, reason: CloseReason) {
        // The generator still has to read the events that a task sent before it panicked.
        if reason == CloseReason::Panicked && self.polls_after_panic < READS_ON {
            self.polls_after_panic += 1;
            return;
        }
        let endpoint = &self.mounted.endpoint;
        let ended = match reason {
            CloseReason::Panicked => task_panicked(&self.handoff, endpoint),
            _ => end_stream(reason, false, &self.handoff, endpoint),
        };
        self.drop_generator(ended, reason);
    }

    /// Drops the generator while it is waiting. The next state decides how the response ends.
    fn drop_generator(&mut self, ended: State, reason: CloseReason) {
        let endpoint = &self.mounted.endpoint;
        end_generator(&mut self.state, ended, endpoint, &self.guard);
        end(&mut self.guard, &self.handoff, None, reason);
    }

    /// Polls the generator and takes the frames that it has written. Returns `None` if the state
    /// has changed.
    #[inline]
    fn poll_running(&mut self, cx: &mut Context<'_>) -> Poll<Option<Chunk>> {
        ready!(self.gate.poll_open(cx));
        let endpoint = &self.mounted.endpoint;
        if let Some(bytes) = self.handoff.take_rest() {
            close_gate_after(&bytes, false, &mut self.gate, endpoint);
            return Poll::Ready(Some(Chunk { bytes, events: 0 }));
        }
        let State::Running(coroutine) = &mut self.state else {
            return Poll::Ready(None);
        };
        let entered = (self.guard.enter_span(), self.handoff.enter());
        let polled = poll(coroutine, &self.handoff, &self.guard, endpoint, cx);
        drop(entered);
        if let Poll::Ready((ended, reason)) = polled {
            // The generator is dropped before `end`, so that the tasks it started end after it.
            self.state = ended;
            end(&mut self.guard, &self.handoff, None, reason);
            return Poll::Ready(None);
        }
        match self.handoff.take_unless_failed() {
            Ok(taken) if !taken.bytes.is_empty() => Poll::Ready(Some(self.send(taken, cx))),
            Ok(_) if self.polls_after_panic > 0 => {
                // The generator has read all values that the panicked task had sent.
                let ended = task_panicked(&self.handoff, &self.mounted.endpoint);
                self.drop_generator(ended, CloseReason::Panicked);
                Poll::Ready(None)
            }
            Ok(_) => self.poll_keep_alive(cx).map(Some),
            Err(source) => {
                let reason = source.reason();
                self.state = failing(source, &self.handoff, endpoint);
                end(&mut self.guard, &self.handoff, None, reason);
                Poll::Ready(None)
            }
        }
    }

    /// Turns the frames that the generator has written into a chunk, and closes the gate if
    /// necessary.
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
        close_gate_after(&bytes, waits, &mut self.gate, &self.mounted.endpoint);
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
        close_gate_after(&bytes, false, &mut self.gate, &self.mounted.endpoint);
        Poll::Ready(Chunk { bytes, events: 0 })
    }

    /// Sends the frames that were written before the failure, and then returns the error.
    fn poll_failing(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, StreamError>>> {
        if let Some(chunk) = self.take_chunk() {
            self.gate.close();
            return Poll::Ready(Some(Ok(chunk)));
        }
        // The gate must open first, because hyper discards its buffer when a body returns an error.
        ready!(self.gate.poll_open(cx));
        match mem::replace(&mut self.state, State::Ended) {
            State::Failing(error) => {
                self.guard.break_off();
                Poll::Ready(Some(Err(*error)))
            }
            State::Running(_) | State::Ended => Poll::Ready(None),
        }
    }

    /// Sends the remaining frames, and then waits up to [`LINGER`] for the rest of an unread
    /// request body.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Option<Chunk>> {
        if let Some(chunk) = self.take_chunk() {
            return Poll::Ready(Some(chunk));
        }
        if self.drain.is_draining() {
            let linger = self.linger.get_or_insert_with(|| Box::pin(sleep(LINGER)));
            ready!(poll_unconstrained(linger.as_mut(), cx));
        }
        Poll::Ready(None)
    }

    fn take_chunk(&self) -> Option<Chunk> {
        let (bytes, events) = self.handoff.take();
        (!bytes.is_empty()).then_some(Chunk { bytes, events })
    }
}

/// Ends the stream on the server's side, even though the frames that have been written may still be
/// unsent. These frames are counted here, before the stream's record is closed, together with the
/// `first` frame if that has not been sent either.
fn end(guard: &mut CloseGuard, handoff: &Handoff, first: Option<&Bytes>, why: CloseReason) {
    let (events, bytes) = handoff.count_rest();
    let bytes = bytes + first.map_or(0, Bytes::len);
    if bytes > 0 {
        guard.record().sent(events, bytes);
    }
    guard.end(why);
}

/// Polls the generator. Once it has ended, returns the next state and the reason.
// Inlined because it runs for each event, although it is also called when the generator is started.
#[inline]
fn poll(
    coroutine: &mut Coroutine,
    handoff: &Handoff,
    guard: &CloseGuard,
    endpoint: &Endpoint,
    cx: &mut Context<'_>,
) -> Poll<(State, CloseReason)> {
    // Unwind safety: state that a panic may have left inconsistent is never used again, because the
    // generator is dropped with all its state. The frames that it has written are complete.
    let polled = catch_unwind(AssertUnwindSafe(|| {
        let ended = coroutine.poll(guard.connection(), cx);
        ended.map(|ending| settle(ending, handoff, endpoint))
    }));
    let Ok(polled) = polled else {
        tracing::error!(
            endpoint = endpoint.name,
            path = endpoint.path,
            "the generator panicked; its connection is closed"
        );
        let failing = State::Failing(Box::new(StreamError::Panicked {
            endpoint: endpoint.name,
        }));
        return Poll::Ready((failing, CloseReason::Panicked));
    };
    polled
}

/// Ends a stream whose generator has ended: writes the last frame, and returns the final state and
/// the reason.
fn settle(ending: Ending, handoff: &Handoff, endpoint: &Endpoint) -> (State, CloseReason) {
    // If a value could not be sent, the stream does not count as finished, even if the generator
    // returns.
    if let Some(failed) = write_failure(handoff, endpoint) {
        return failed;
    }
    match &ending {
        Ending::TaskPanicked => {
            return (task_panicked(handoff, endpoint), CloseReason::Panicked);
        }
        Ending::Finished => {
            if let Some(failure) = handoff.topic_failure() {
                return (run_failed(&failure, handoff, endpoint), failure.reason);
            }
        }
        Ending::Failed(_) | Ending::Rejected(_) => {}
    }
    let topics = handoff.topic_end();
    let why = match ending {
        Ending::Finished if topics == Some(TopicEnd::Lagged) => CloseReason::Lagged,
        Ending::Finished => CloseReason::Finished,
        Ending::TaskPanicked => CloseReason::Panicked,
        Ending::Failed(write_error) => {
            write_error(handoff, endpoint);
            CloseReason::Failed
        }
        Ending::Rejected(response) => {
            tracing::error!(
                endpoint = endpoint.name,
                path = endpoint.path,
                status = response.status().as_u16(),
                "the generator ended with the response's error after the response had begun; its connection is closed"
            );
            let failing = State::Failing(Box::new(StreamError::RejectedTooLate {
                endpoint: endpoint.name,
            }));
            return (failing, CloseReason::Failed);
        }
    };
    let ended = end_stream(why, topics == Some(TopicEnd::Over), handoff, endpoint);
    write_failure(handoff, endpoint).unwrap_or((ended, why))
}

/// Writes the last frame of a stream that ends with `reason`, and returns the next state. This is
/// [`State::Failing`] if the response breaks off.
fn end_stream(reason: CloseReason, is_over: bool, handoff: &Handoff, endpoint: &Endpoint) -> State {
    let end = StreamEnd::of(reason, endpoint, is_over);
    if let Some(frame) = end.last_frame {
        handoff.write_last(|outgoing| match frame {
            LastFrame::Done => {
                // The generator may already have sent this frame.
                let done = EventId::done(outgoing.ids.last.as_ref());
                if outgoing.ids.last.as_ref() != Some(&done) {
                    frame::done_frame(&mut outgoing.frames.buffer, &done);
                }
            }
            LastFrame::Retry(retry) => frame::retry_line(&mut outgoing.frames.buffer, retry),
            LastFrame::Close => {
                frame::close_frame(&mut outgoing.frames.buffer, reason.as_str(), None);
            }
            LastFrame::CloseForGood => {
                let done = EventId::done(outgoing.ids.last.as_ref());
                frame::close_frame(&mut outgoing.frames.buffer, reason.as_str(), Some(&done));
            }
        });
    }
    if !end.breaks_off {
        return State::Ended;
    }
    tracing::warn!(
        endpoint = endpoint.name,
        path = endpoint.path,
        %reason,
        "the stream was cut before its generator ended; its response breaks off, so that the client does \
         not mistake it for a complete response"
    );
    State::Failing(Box::new(StreamError::Cut {
        endpoint: endpoint.name,
        reason,
    }))
}

/// Drops the generator while it is waiting. A panic in one of its destructors does not change how
/// the stream ends.
fn end_generator(state: &mut State, ended: State, endpoint: &Endpoint, guard: &CloseGuard) {
    let _entered = guard.enter_span();
    let generator = mem::replace(state, ended);
    if catch_unwind(AssertUnwindSafe(|| drop(generator))).is_err() {
        tracing::error!(
            endpoint = endpoint.name,
            path = endpoint.path,
            "a destructor of the generator panicked"
        );
    }
}

/// Writes the last event of a stream if its run has failed or one of its tasks has panicked.
/// Returns whether an event was written.
fn say_failure(failure: &Failure, handoff: &Handoff, endpoint: &Endpoint) -> bool {
    let mut is_said = false;
    // This does not use `write_last`, because the error's `Serialize` is user code.
    handoff.write_error(|outgoing| {
        is_said = failure.write_to(outgoing, endpoint);
        Ok(())
    });
    is_said
}

/// Ends a stream whose run has failed or was stopped. If no event reports the failure, the response
/// breaks off, so that the client does not take a partial response for a complete one.
fn run_failed(failure: &Failure, handoff: &Handoff, endpoint: &Endpoint) -> State {
    if !failure.is_stop && say_failure(failure, handoff, endpoint) {
        return State::Ended;
    }
    let Endpoint { name, path, .. } = *endpoint;
    tracing::warn!(
        endpoint = name,
        path,
        reason = %failure.reason,
        is_stop = failure.is_stop,
        "the run that the stream reads did not finish, and its client does not learn why: its response breaks off"
    );
    State::Failing(Box::new(if failure.is_stop {
        StreamError::RunStopped { endpoint: name }
    } else {
        StreamError::RunFailed { endpoint: name }
    }))
}

/// Ends a stream whose task has panicked, in the same way as after a panic in the generator.
fn task_panicked(handoff: &Handoff, endpoint: &Endpoint) -> State {
    tracing::error!(
        endpoint = endpoint.name,
        path = endpoint.path,
        "a task of the stream panicked; its connection is closed"
    );
    say_failure(&Failure::panicked(), handoff, endpoint);
    State::Failing(Box::new(StreamError::Panicked {
        endpoint: endpoint.name,
    }))
}

/// If a value could not be sent, returns the next state and the close reason.
fn write_failure(handoff: &Handoff, endpoint: &Endpoint) -> Option<(State, CloseReason)> {
    let failure = handoff.take_failure()?;
    let why = failure.reason();
    Some((failing(failure, handoff, endpoint), why))
}

fn failing(failure: WriteFailure, handoff: &Handoff, endpoint: &Endpoint) -> State {
    let Endpoint { name, path, .. } = *endpoint;
    State::Failing(Box::new(match failure {
        WriteFailure::Encode(source) => {
            tracing::error!(
                endpoint = name,
                path,
                error = %source,
                "a value that the generator yielded could not be sent; its connection is closed"
            );
            StreamError::Encode {
                endpoint: name,
                source,
            }
        }
        WriteFailure::Gap(source) => {
            tracing::warn!(
                endpoint = name,
                path,
                gap = %source,
                "a client missed events of a topic, and the endpoint sends no `gap` events: its response breaks \
                 off. Handle gaps with `recv`, or add `events = \"all\"`"
            );
            StreamError::Gap {
                endpoint: name,
                source,
            }
        }
        WriteFailure::Run(failure) => return run_failed(&failure, handoff, endpoint),
    }))
}

/// Closes the gate if the chunk has to reach the kernel before the generator is resumed.
///
/// If flushes are counted, the gate closes after every chunk, because this has no cost. If it
/// stayed open, hyper would take the next frame from the body while the client isn't reading, and
/// would then not poll the body, or check its deadline, until the client reads again.
///
/// If flushes are not counted, the gate closes after each event under [`Flush::Each`], and after
/// large chunks. When a body returns `Pending`, its server writes anyway. So if the generator waits
/// after a chunk, the gate can stay open, unless the chunk is large.
fn close_gate_after(frame: &Bytes, waits: bool, gate: &mut FlushGate, endpoint: &Endpoint) {
    let is_due = frame.len() >= DUE || endpoint.flush == Flush::Each && !waits;
    if gate.counts_flushes() || is_due {
        gate.close();
    }
}

/// Shortens the limit by a random amount of up to a fifth, so that clients that connected together
/// do not reconnect together.
fn spread(limit: Duration) -> Duration {
    limit.mul_f64(1.0 - 0.2 * fastrand::f64())
}
