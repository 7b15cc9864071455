//! [`SseBody`]: the response's body, which drives the generator.
//!
//! The generator runs when the body is polled, and only then: backpressure and cancellation follow from the shape, with
//! no task and no channel in between. A client that leaves makes hyper drop the body, and with it the generator, where
//! it waits.

use std::{
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
        generator::{Coroutine, Ending, Generator},
        handoff::{Channel, DUE, Taken, TopicEnd, WriteFailure},
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

/// What a turn looks at is in here; what it seldom needs is in boxes.
#[derive(Debug)]
pub(crate) struct SseBody {
    // Dropped first: the generator's destructors run before anybody is told that it is gone.
    state: State,
    channel: Channel,
    gate: FlushGate,
    /// Whether the head is on its way, which waits for no event.
    head_sent: bool,
    /// The turn in which the generator was polled last, and left waiting: all that wakes it was told so, and so were the
    /// timers.
    waits_in: Option<NonZeroU64>,
    keep_alive: Option<KeepAlive>,
    deadline: Option<Pin<Box<Sleep>>>,
    /// Until the stream is asked to end.
    ending: Option<StopSignal>,
    /// What the deadline is about.
    over: CloseReason,
    /// How often the generator was polled after one of the stream's tasks had panicked.
    polls_after_panic: u16,
    drain: BodyDrain,
    /// Started at the end, where a request body is still to come.
    linger: Option<Pin<Box<Sleep>>>,
    mounted: Arc<MountedEndpoint>,
    // Dropped last: what the stream started ends behind the generator.
    guard: CloseGuard,
}

/// How long a stream that has ended waits for the rest of a request body that nobody reads.
///
/// hyper closes a connection on which some of it is left, the system answers what still comes with a reset, and a reset
/// destroys what the client has not read yet: the last events of the stream.
const LINGER: Duration = Duration::from_secs(2);

/// How often a generator is polled after one of its stream's tasks has panicked, unless it waits
/// earlier: it may have read some of what that task has sent, or go on without it.
const READS_ON: u16 = 1024;

#[derive(Debug)]
enum State {
    /// The generator runs, or waits.
    Running(Coroutine),
    /// The stream breaks off, once all that was written before is on its way.
    Failing(Box<StreamError>),
    /// What is written is the rest.
    Ended,
}

/// Why a stream breaks off. It is for the server's log: the client sees a body that was cut short.
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
    /// `ended` is how the generator ended, where it did so before there was a body.
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
            coroutine, channel, ..
        } = generator;
        let state = match ended {
            None => State::Running(coroutine),
            Some(ending) => {
                let (state, why) = settle(ending, &channel, endpoint);
                end(&mut context.guard, &channel, frames.first.as_ref(), why);
                state
            }
        };
        Self {
            state,
            channel,
            gate: FlushGate::new(context.wire),
            head_sent: false,
            waits_in: None,
            keep_alive: frames.keep_alive.clone().map(KeepAlive::new),
            deadline: endpoint
                .max_duration
                .map(|limit| Box::pin(sleep(spread(limit)))),
            ending: Some(StopSignal::new(context.guard.connection().ending())),
            over: CloseReason::MaxDuration,
            polls_after_panic: 0,
            drain,
            linger: None,
            mounted: Arc::clone(mounted),
            guard: context.guard,
        }
    }
}

impl SseBody {
    /// Polls the generator to its first wait, before the head of the response is on its way: by the time
    /// the client has read the head, the subscriptions made in its first statements exist.
    ///
    /// The waker that it leaves behind may be another than the body's. The body polls the generator again once the head, and
    /// what the generator has written by now, has been flushed, so no wakeup is lost.
    ///
    /// Returns `false` if the generator does not wait but has used up the task's budget, and is to be polled again in the next turn.
    pub(crate) fn start(&mut self, cx: &mut Context<'_>) -> bool {
        if let State::Running(coroutine) = &mut self.state
            && !self.channel.has_stopped()
        {
            let entered = (self.guard.enter_span(), self.channel.enter());
            let polled = poll(
                coroutine,
                &self.channel,
                &self.guard,
                &self.mounted.endpoint,
                cx,
            );
            drop(entered);
            if let Poll::Ready((ended, why)) = polled {
                self.state = ended;
                let first = self.mounted.frames.first.as_ref();
                end(&mut self.guard, &self.channel, first, why);
                return true;
            }
        }
        self.channel.has_stopped() || coop::has_budget_remaining()
    }

    /// What the first write of the body holds: the reconnection time, and what the generator has written before the head.
    fn take_first(&mut self) -> (Bytes, u64) {
        let taken = match self.state {
            State::Running(_) => self.channel.take_unless_failed(),
            // What a generator writes that has ended is complete.
            State::Failing(_) | State::Ended => {
                let (bytes, events) = self.channel.take();
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
                self.state = failing(source, &self.channel, &self.mounted.endpoint);
                let first = self.mounted.frames.first.as_ref();
                end(&mut self.guard, &self.channel, first, why);
                self.channel.take()
            }
        };
        let bytes = match &self.mounted.frames.first {
            Some(first) if written.is_empty() => first.clone(),
            Some(first) => [&first[..], &written].concat().into(),
            None => written,
        };
        (bytes, events)
    }
}

impl http_body::Body for SseBody {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let polled = self.as_mut().poll_bytes(cx);
        if let Poll::Ready(Some(Ok((bytes, events)))) = &polled
            && !self.guard.has_ended()
        {
            self.guard.record().sent(*events, bytes.len());
        }
        polled.map_ok(|(bytes, _)| Frame::data(bytes))
    }
}

impl SseBody {
    /// What goes out next, and how many events it holds.
    fn poll_bytes(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(Bytes, u64), StreamError>>> {
        let this = self.get_mut();
        // Behind its frame there is nothing to be found yet.
        if this.waits_in.is_some() && this.waits_in == epoch::current(cx) {
            return Poll::Pending;
        }
        // Whoever looks with another waker, in the middle of a turn, has what wakes the generator wake that one.
        this.waits_in = None;
        if let Err(source) = this.drain.poll_drain(cx)
            && let State::Running(_) = this.state
        {
            let endpoint = &this.mounted.endpoint;
            end_generator(&mut this.state, State::Ended, endpoint, &this.guard);
            this.guard.end(CloseReason::ClientGone);
            return Poll::Ready(Some(Err(StreamError::RequestBrokenOff {
                endpoint: endpoint.name,
                source,
            })));
        }

        if !this.head_sent {
            this.head_sent = true;
            this.gate.close_for_head();
            let (first, events) = this.take_first();
            if !first.is_empty() {
                return Poll::Ready(Some(Ok((first, events))));
            }
        }

        let endpoint = &this.mounted.endpoint;
        // Before the generator, which may wait for ever, or never.
        if let Some(ending) = &mut this.ending
            && let State::Running(_) = this.state
            && ending.poll(cx).is_ready()
        {
            let connection = this.guard.connection();
            this.ending = None;
            if let (None, Some(shutdown)) = (connection.asked(), connection.shutdown()) {
                let end = shutdown.end(endpoint.when_shut_down());
                let is_earlier = |deadline: &Pin<Box<Sleep>>| end < deadline.deadline();
                if this.deadline.as_ref().is_none_or(is_earlier) {
                    this.deadline = Some(Box::pin(sleep_until(end)));
                    this.over = CloseReason::Shutdown;
                }
                // Until then it may still be asked to end at once.
                let asked = connection.asked_in_shutdown();
                this.ending = Some(StopSignal::new(asked));
                if let Some(ending) = &mut this.ending
                    && ending.poll(cx).is_ready()
                {
                    this.ending = None;
                }
            }
        }
        if let State::Running(_) = this.state {
            let is_over = |deadline: &mut Pin<Box<Sleep>>| {
                poll_unconstrained(deadline.as_mut(), cx).is_ready()
            };
            let is_over = this.deadline.as_mut().is_some_and(is_over);
            // Who may not stay is told so, whatever else ends the stream. Nobody has asked while nothing was cancelled.
            let was_cancelled = this.ending.is_none();
            let asked = was_cancelled.then(|| this.guard.connection().asked());
            let asked = asked.flatten();
            let why = asked.or(is_over.then_some(this.over));
            // What the task has sent before it panicked is still to be read.
            let reads_on = why == Some(CloseReason::Panicked) && this.polls_after_panic < READS_ON;
            if reads_on {
                this.polls_after_panic += 1;
            } else if let Some(why) = why {
                let ended = match why {
                    CloseReason::Panicked => task_panicked(&this.channel, endpoint),
                    _ => end_stream(why, false, &this.channel, endpoint),
                };
                end_generator(&mut this.state, ended, endpoint, &this.guard);
                end(&mut this.guard, &this.channel, None, why);
            }
        }

        loop {
            match &mut this.state {
                State::Running(coroutine) => {
                    ready!(this.gate.poll_open(cx));
                    if let Some(rest) = this.channel.take_rest() {
                        close_behind(&rest, false, &mut this.gate, endpoint);
                        return Poll::Ready(Some(Ok((rest, 0))));
                    }
                    let entered = (this.guard.enter_span(), this.channel.enter());
                    let polled = poll(coroutine, &this.channel, &this.guard, endpoint, cx);
                    drop(entered);
                    match polled {
                        Poll::Ready((ended, why)) => {
                            // The generator is dropped here, and what it started ends behind it.
                            this.state = ended;
                            end(&mut this.guard, &this.channel, None, why);
                            continue;
                        }
                        Poll::Pending => {
                            let Taken {
                                bytes,
                                events,
                                mut waits,
                            } = match this.channel.take_unless_failed() {
                                Ok(taken) => taken,
                                Err(source) => {
                                    let why = source.reason();
                                    this.state = failing(source, &this.channel, endpoint);
                                    end(&mut this.guard, &this.channel, None, why);
                                    continue;
                                }
                            };
                            // The generator has read what there was.
                            if bytes.is_empty() && this.polls_after_panic > 0 {
                                let ended = task_panicked(&this.channel, endpoint);
                                end_generator(&mut this.state, ended, endpoint, &this.guard);
                                let why = CloseReason::Panicked;
                                end(&mut this.guard, &this.channel, None, why);
                                continue;
                            }
                            if bytes.is_empty() {
                                let Some(keep_alive) = &mut this.keep_alive else {
                                    return Poll::Pending;
                                };
                                let mut frame = ready!(keep_alive.poll_due(cx));
                                if let Some(id) = this.channel.take_read_to() {
                                    frame = mounted::with_id(&id, &frame);
                                }
                                close_behind(&frame, false, &mut this.gate, endpoint);
                                return Poll::Ready(Some(Ok((frame, 0))));
                            }
                            if let Some(keep_alive) = &mut this.keep_alive {
                                waits &= keep_alive.poll_sent(cx).is_pending();
                            }
                            this.waits_in = waits.then(|| epoch::current(cx)).flatten();
                            close_behind(&bytes, waits, &mut this.gate, endpoint);
                            return Poll::Ready(Some(Ok((bytes, events))));
                        }
                    }
                }
                State::Failing(_) => {
                    let (bytes, events) = this.channel.take();
                    if !bytes.is_empty() {
                        this.gate.close();
                        return Poll::Ready(Some(Ok((bytes, events))));
                    }
                    // hyper throws away what it holds when a body fails.
                    ready!(this.gate.poll_open(cx));
                    let failing = std::mem::replace(&mut this.state, State::Ended);
                    if let State::Failing(error) = failing {
                        this.guard.break_off();
                        return Poll::Ready(Some(Err(*error)));
                    }
                }
                State::Ended => {
                    let (bytes, events) = this.channel.take();
                    if !bytes.is_empty() {
                        return Poll::Ready(Some(Ok((bytes, events))));
                    }
                    if !this.drain.is_draining() {
                        return Poll::Ready(None);
                    }
                    // The loop has drained what was there, and is woken for more, or at the end of our patience.
                    let linger = this.linger.get_or_insert_with(|| Box::pin(sleep(LINGER)));
                    ready!(poll_unconstrained(linger.as_mut(), cx));
                    return Poll::Ready(None);
                }
            }
        }
    }
}

/// Ends the stream for everybody but its client, who has yet to be sent what is written. That is counted here, before the
/// stream's account is closed, with the `first` line if that has not been sent either.
fn end(guard: &mut CloseGuard, channel: &Channel, first: Option<&Bytes>, why: CloseReason) {
    let (events, bytes) = channel.count_rest();
    let bytes = bytes + first.map_or(0, Bytes::len);
    if bytes > 0 {
        guard.record().sent(events, bytes);
    }
    guard.end(why);
}

/// Polls the generator; ready with the state that follows it, and why.
// It is called where the generator is begun as well, and inlined for where each event is polled.
#[inline]
fn poll(
    coroutine: &mut Coroutine,
    channel: &Channel,
    guard: &CloseGuard,
    endpoint: &Endpoint,
    cx: &mut Context<'_>,
) -> Poll<(State, CloseReason)> {
    // Nobody sees what a panic left behind: the generator is dropped with all that it holds. What it had written are
    // whole frames.
    let polled = catch_unwind(AssertUnwindSafe(|| {
        let ended = coroutine.poll(guard.connection(), cx);
        ended.map(|ending| settle(ending, channel, endpoint))
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

/// Ends a stream whose generator has ended: writes what is left to be sent, and says why it ends.
fn settle(ending: Ending, channel: &Channel, endpoint: &Endpoint) -> (State, CloseReason) {
    // A generator that ended after a value that could not be sent has not finished.
    if let Some(failed) = write_failure(channel, endpoint) {
        return failed;
    }
    match &ending {
        Ending::TaskPanicked => {
            return (task_panicked(channel, endpoint), CloseReason::Panicked);
        }
        Ending::Finished => {
            if let Some(failure) = channel.topic_failure() {
                return (run_failed(&failure, channel, endpoint), failure.reason);
            }
        }
        Ending::Failed(_) | Ending::Rejected(_) => {}
    }
    let topics = channel.topic_end();
    let why = match ending {
        Ending::Finished if topics == Some(TopicEnd::Lagged) => CloseReason::Lagged,
        Ending::Finished => CloseReason::Finished,
        Ending::TaskPanicked => CloseReason::Panicked,
        Ending::Failed(write_error) => {
            write_error(channel, endpoint);
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
    let ended = end_stream(why, topics == Some(TopicEnd::Over), channel, endpoint);
    write_failure(channel, endpoint).unwrap_or((ended, why))
}

/// Writes the last frame of a stream that ends for this reason. The state says whether its response then breaks off.
fn end_stream(reason: CloseReason, is_over: bool, channel: &Channel, endpoint: &Endpoint) -> State {
    let end = StreamEnd::of(reason, endpoint, is_over);
    if let Some(frame) = end.last_frame {
        channel.write_last(|outgoing| match frame {
            LastFrame::Done => {
                // Unless the generator has sent it.
                let done = EventId::done(outgoing.last_id.as_ref());
                if outgoing.last_id.as_ref() != Some(&done) {
                    frame::done_frame(&mut outgoing.buffer, &done);
                }
            }
            LastFrame::Retry(retry) => frame::retry_line(&mut outgoing.buffer, retry),
            LastFrame::Close => frame::close_frame(&mut outgoing.buffer, reason.as_str(), None),
            LastFrame::CloseForGood => {
                let done = EventId::done(outgoing.last_id.as_ref());
                frame::close_frame(&mut outgoing.buffer, reason.as_str(), Some(&done));
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
        "the stream was cut before its generator ended; its response breaks off, so that its client does not take it for a \
         complete answer"
    );
    State::Failing(Box::new(StreamError::Cut {
        endpoint: endpoint.name,
        reason,
    }))
}

/// Drops the generator where it waits. A panic in its destructors does not change how its stream ends.
fn end_generator(state: &mut State, ended: State, endpoint: &Endpoint, guard: &CloseGuard) {
    let _entered = guard.enter_span();
    let generator = std::mem::replace(state, ended);
    if catch_unwind(AssertUnwindSafe(|| drop(generator))).is_err() {
        tracing::error!(
            endpoint = endpoint.name,
            path = endpoint.path,
            "a destructor of the generator panicked"
        );
    }
}

/// The last event of a stream that reads a run that has failed, or whose task has panicked.
fn say_failure(failure: &Failure, channel: &Channel, endpoint: &Endpoint) {
    if endpoint.sends_framework_events() {
        // Not `write_last`: the error's `Serialize` is a user's.
        channel.write_error(|outgoing| {
            failure.write_to(outgoing, endpoint.error_event);
            Ok(())
        });
    }
}

/// Ends a stream that reads a run that has failed. Without the event that says so its response breaks
/// off, so that its client does not take it for a complete answer.
fn run_failed(failure: &Failure, channel: &Channel, endpoint: &Endpoint) -> State {
    if failure.is_stop {
        return State::Failing(Box::new(StreamError::RunStopped {
            endpoint: endpoint.name,
        }));
    }
    say_failure(failure, channel, endpoint);
    if endpoint.sends_framework_events() {
        return State::Ended;
    }
    State::Failing(Box::new(StreamError::RunFailed {
        endpoint: endpoint.name,
    }))
}

/// Ends a stream whose task has panicked, as a panic of the generator does.
fn task_panicked(channel: &Channel, endpoint: &Endpoint) -> State {
    tracing::error!(
        endpoint = endpoint.name,
        path = endpoint.path,
        "a task of the stream panicked; its connection is closed"
    );
    say_failure(&Failure::panicked(), channel, endpoint);
    State::Failing(Box::new(StreamError::Panicked {
        endpoint: endpoint.name,
    }))
}

/// The state after a value that could not be sent, if there was one, and why the stream ends.
fn write_failure(channel: &Channel, endpoint: &Endpoint) -> Option<(State, CloseReason)> {
    let failure = channel.take_failure()?;
    let why = failure.reason();
    Some((failing(failure, channel, endpoint), why))
}

fn failing(failure: WriteFailure, channel: &Channel, endpoint: &Endpoint) -> State {
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
                "a client missed events of a topic, and the endpoint sends no event `gap`: its response breaks off. Take gaps \
                 with `recv`, or add `events = \"all\"`"
            );
            StreamError::Gap {
                endpoint: name,
                source,
            }
        }
        WriteFailure::Run(failure) => return run_failed(&failure, channel, endpoint),
    }))
}

/// What has to be with the kernel before the generator goes on: each event, or what was due. Where flushes are counted it
/// is all that was written, since that costs nothing: a body that goes on while its client takes nothing has its next frame
/// taken out of its hands, and is not polled, nor is its deadline, until that client reads. Where they are not, whoever
/// drives the body writes when it is told that there is no more, and need not be told twice: a generator that waits says so,
/// unless it has left much.
fn close_behind(frame: &Bytes, waits: bool, gate: &mut FlushGate, endpoint: &Endpoint) {
    let is_due = frame.len() >= DUE || endpoint.flush == Flush::Each && !waits;
    if gate.counts_flushes() || is_due {
        gate.close();
    }
}

/// The limit less up to a fifth of it, at random, so that clients that came together do not come back together.
fn spread(limit: Duration) -> Duration {
    limit.mul_f64(1.0 - 0.2 * fastrand::f64())
}
