//! [`Generator`]: the user's function on its way from arguments to a response.

use std::{
    any::Any,
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Poll, ready},
};

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use pin_project_lite::pin_project;
use tokio::task::coop;

use crate::{
    CloseReason, Connection, Payload,
    arrival::Arrival,
    body::SseBody,
    channel::{Channel, Returning},
    description::Describe,
    encode::Frame,
    endpoint::{About, Endpoint},
    exit::{End, Exit},
    last_event_id::SentDone,
    response,
    signature::Rejection,
    unread::Unread,
    yielder::{Item, Yielder},
};

/// The coroutine that an endpoint's function is, with its types forgotten: boxed once, polled where it lies, first by
/// the handler until the response begins, then by the body.
#[derive(Debug)]
#[must_use = "a generator does nothing unless a request drives it"]
pub struct Generator {
    pub(crate) coroutine: Coroutine,
    pub(crate) channel: Channel,
    /// Whether statements stand before the response, that can still answer something else.
    prelude: bool,
}

/// How a generator ended.
pub(crate) enum Ending {
    Finished,
    /// A task of its stream has panicked.
    TaskPanicked,
    /// An error before the response.
    Rejected(Response),
    /// An error in the stream. `log` is for the operator, and has been sent to the client as the event's data.
    Failed(WriteError),
}

/// Writes the event that an error in the stream becomes, with the endpoint's name for it.
type WriteError = Box<dyn FnOnce(&Channel, &Endpoint) + Send>;

pub(crate) struct Coroutine {
    function: Pin<Box<dyn Future<Output = Ending> + Send>>,
}

impl Coroutine {
    #[inline]
    /// Polls the function, and after it the tasks of its stream: one may be panicking at this moment, and
    /// the function may have read all that it has sent.
    pub(crate) fn poll(
        &mut self,
        connection: &Connection,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Ending> {
        let ending = ready!(self.function.as_mut().poll(cx));
        if !matches!(ending, Ending::Finished) {
            return Poll::Ready(ending);
        }
        match connection.poll_tasks(cx) {
            Poll::Ready(true) => Poll::Ready(Ending::TaskPanicked),
            Poll::Ready(false) => Poll::Ready(Ending::Finished),
            Poll::Pending => {
                // It has finished, and says so again.
                self.function = Box::pin(async { Ending::Finished });
                Poll::Pending
            }
        }
    }
}

impl fmt::Debug for Coroutine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Coroutine")
    }
}

pin_project! {
    /// A function's coroutine, and what its end means. An `async` block around it would hold it twice: as what it was
    /// given, and as what it awaits.
    struct Ends<F, M> {
        #[pin]
        coroutine: F,
        meaning: Option<M>,
    }
}

impl<F, M> Ends<F, M>
where
    F: Future,
    M: FnOnce(F::Output) -> Ending,
{
    fn new(coroutine: F, meaning: M) -> Self {
        Self {
            coroutine,
            meaning: Some(meaning),
        }
    }
}

impl<F, M> Future for Ends<F, M>
where
    F: Future,
    M: FnOnce(F::Output) -> Ending,
{
    type Output = Ending;

    fn poll(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Ending> {
        let this = self.project();
        if let Poll::Ready(output) = this.coroutine.poll(cx)
            && let Some(meaning) = this.meaning.take()
        {
            return Poll::Ready(meaning(output));
        }
        Poll::Pending
    }
}

impl Generator {
    /// `impl Stream<Item = T>`.
    pub fn stream<T, F>(item: Item<T>, run: impl FnOnce(Yielder<T>) -> F) -> Self
    where
        F: Future<Output = ()> + 'static,
        F: Send, // a `yield_!` is an await: end lock guards, `Rc`s and `RefCell` borrows in a block before it
    {
        Self::new(item, false, |yielder| {
            Ends::new(run(yielder), |()| Ending::Finished)
        })
    }

    /// `impl Stream<Item = Result<T, E>>`.
    pub fn try_stream<T, E, F>(
        item: Item<T>,
        error: StreamError<E>,
        run: impl FnOnce(Yielder<T>) -> F,
    ) -> Self
    where
        F: Future<Output = Result<End, E>> + 'static,
        F: Send, // a `yield_!` is an await: end lock guards, `Rc`s and `RefCell` borrows in a block before it
        E: Send + 'static,
    {
        Self::new(item, false, |yielder| {
            Ends::new(run(yielder), |ended| match ended {
                Ok(End { .. }) => Ending::Finished,
                Err(failure) => failed(error, failure),
            })
        })
    }

    /// `Result<impl Stream<Item = T>, R>`.
    pub fn response<T, R, F>(
        item: Item<T>,
        Rejection { answer }: Rejection<R>,
        run: impl FnOnce(Yielder<T>) -> F,
    ) -> Self
    where
        F: Future<Output = Result<End, R>> + 'static,
        F: Send, // a `yield_!` is an await: end lock guards, `Rc`s and `RefCell` borrows in a block before it
        R: 'static,
    {
        Self::new(item, true, |yielder| {
            Ends::new(run(yielder), move |ended| match ended {
                Ok(End { .. }) => Ending::Finished,
                Err(rejection) => Ending::Rejected(answer(rejection)),
            })
        })
    }

    /// `Result<impl Stream<Item = Result<T, E>>, R>`.
    pub fn try_response<T, E, R, F>(
        item: Item<T>,
        error: StreamError<E>,
        Rejection { answer }: Rejection<R>,
        run: impl FnOnce(Yielder<T>) -> F,
    ) -> Self
    where
        F: Future<Output = Result<End, Exit<R, E>>> + 'static,
        F: Send, // a `yield_!` is an await: end lock guards, `Rc`s and `RefCell` borrows in a block before it
        E: Send + 'static,
        R: 'static,
    {
        Self::new(item, true, |yielder| {
            Ends::new(run(yielder), move |ended| match ended {
                Ok(End { .. }) => Ending::Finished,
                Err(Exit::Response(rejection)) => Ending::Rejected(answer(rejection)),
                Err(Exit::Stream(failure)) => failed(error, failure),
            })
        })
    }

    fn new<T, F>(item: Item<T>, prelude: bool, run: impl FnOnce(Yielder<T>) -> F) -> Self
    where
        F: Future<Output = Ending> + Send + 'static,
    {
        let channel = Channel::new();
        let coroutine = run(Yielder::new(item, channel.clone()));
        Self {
            coroutine: Coroutine {
                function: Box::pin(coroutine),
            },
            channel,
            prelude,
        }
    }

    /// Runs what stands before the response, and makes the rest its body.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the generator: a client that leaves before the response ends it there.
    pub(crate) async fn respond(
        self,
        mut arrival: Arrival,
        mut unread: Unread,
        about: &Arc<About>,
    ) -> Response {
        // Dropped before the guard in `arrival`, which tells the hooks that the generator is gone.
        let mut this = self;
        this.channel.open(&about.endpoint, arrival.last_id.clone());
        // The id of the end of a stream stops its client, unless it is of a topic that is another one by
        // now. That is for the topic to say, so the head waits until the generator reads it.
        let is_asked = arrival.done.as_ref().map(SentDone::is_asked_for);
        let waits_for_topic = is_asked == Some(true) && !arrival.is_head;
        if waits_for_topic {
            this.channel.open_for_done();
        }
        let before = if is_asked == Some(false) {
            Before::Done
        } else if this.prelude || waits_for_topic {
            let connection = arrival.guard.connection().clone();
            let mut until_end = pin!(connection.until_end(about.endpoint.when_shut_down()));
            let mut passed_mark = false;
            let mut turns = TURNS_BEFORE_HEAD;
            poll_fn(|cx| {
                if unread.poll_drain(cx).is_err() {
                    return Poll::Ready(Before::ClientGone);
                }
                let mut polled;
                loop {
                    let entered = (arrival.guard.span().enter(), this.channel.enter());
                    polled =
                        catch_unwind(AssertUnwindSafe(|| this.coroutine.poll(&connection, cx)));
                    drop(entered);
                    match this.channel.returning() {
                        Returning::Stops => return Poll::Ready(Before::Done),
                        Returning::Reads => break,
                        // It reads no topic by the id, so the id is one of its own.
                        Returning::Unknown if this.channel.is_written_to() => {
                            return Poll::Ready(Before::Done);
                        }
                        // The mark before the response, where the generator stops once.
                        Returning::Unknown
                            if !passed_mark
                                && matches!(polled, Ok(Poll::Pending))
                                && this.channel.has_begun() =>
                        {
                            passed_mark = true;
                        }
                        Returning::Unknown => break,
                    }
                }
                match polled {
                    Err(panic) => Poll::Ready(Before::Panicked(panic)),
                    Ok(Poll::Ready(ending)) => Poll::Ready(Before::Ended(ending)),
                    Ok(Poll::Pending) if waits_for_topic => match this.channel.returning() {
                        Returning::Reads => Poll::Ready(Before::Begun),
                        Returning::Unknown if this.prelude && !this.channel.has_begun() => {
                            until_end.as_mut().poll(cx).map(Before::Closed)
                        }
                        // A run that has failed is told, whatever the client has received before.
                        Returning::Unknown if this.channel.has_failure() => {
                            Poll::Ready(Before::Begun)
                        }
                        // It waits for something else than a topic that would judge the id.
                        Returning::Unknown if coop::has_budget_remaining() || turns == 0 => {
                            Poll::Ready(Before::Done)
                        }
                        // It waits only for its next turn.
                        Returning::Unknown => {
                            turns -= 1;
                            cx.waker().wake_by_ref();
                            until_end.as_mut().poll(cx).map(Before::Closed)
                        }
                        Returning::Stops => until_end.as_mut().poll(cx).map(Before::Closed),
                    },
                    Ok(Poll::Pending) if this.channel.has_begun() => Poll::Ready(Before::Begun),
                    Ok(Poll::Pending) => until_end.as_mut().poll(cx).map(Before::Closed),
                }
            })
            .await
        } else {
            Before::Begun
        };
        if waits_for_topic
            && let Before::Begun = before
            && this.channel.returning() == Returning::Reads
        {
            tracing::debug!(
                endpoint = about.endpoint.name,
                id = arrival.sent_done(),
                "the client has received the end of another stream, so it gets a gap"
            );
        }
        let (reason, response) = match before {
            Before::Ended(Ending::Rejected(response)) => (CloseReason::Rejected, response),
            // Nothing was yielded, no gap was found and nothing went wrong: there is no content.
            Before::Ended(Ending::Finished) if !this.channel.has_content() => {
                let nothing = StatusCode::NO_CONTENT.into_response();
                (CloseReason::Finished, nothing)
            }
            Before::Done => {
                tracing::debug!(
                    endpoint = about.endpoint.name,
                    id = arrival.sent_done(),
                    "the client has received the end of the stream, so it is answered with 204"
                );
                let nothing = StatusCode::NO_CONTENT.into_response();
                (CloseReason::Finished, nothing)
            }
            Before::Ended(Ending::TaskPanicked) if !this.channel.has_content() => {
                let failed = StatusCode::INTERNAL_SERVER_ERROR.into_response();
                (CloseReason::Panicked, failed)
            }
            // Likely nobody is left to read it. axum's own extractors answer the same.
            Before::ClientGone => {
                let refused = StatusCode::BAD_REQUEST.into_response();
                (CloseReason::ClientGone, refused)
            }
            Before::Closed(why) => (why, refusal(why).into_response()),
            Before::Panicked(panic) => {
                drop(this);
                arrival.guard.end(CloseReason::Panicked);
                // As axum has it: the connection breaks off.
                resume_unwind(panic)
            }
            Before::Begun => {
                let is_head = arrival.is_head;
                let (head, version) = (response::head(&arrival), arrival.version);
                let mut body = SseBody::new(this, None, arrival, unread, about);
                // A client that has read the head may rely on what the generator subscribes to first.
                let mut turns = if is_head { 0 } else { TURNS_BEFORE_HEAD };
                poll_fn(|cx| {
                    if turns == 0 || body.start(cx) {
                        return Poll::Ready(());
                    }
                    turns -= 1;
                    cx.waker().wake_by_ref();
                    Poll::Pending
                })
                .await;
                return response::stream(version, head, body);
            }
            Before::Ended(ending) => {
                let (head, version) = (response::head(&arrival), arrival.version);
                let body = SseBody::new(this, Some(ending), arrival, unread, about);
                return response::stream(version, head, body);
            }
        };
        drop(this);
        arrival.guard.end(reason);
        response
    }
}

/// How many turns of the task a generator that does not wait may take before the head is sent without it: awaiting
/// a future that is already ready uses up part of a turn but does not count as waiting.
const TURNS_BEFORE_HEAD: u32 = 64;

/// What came of the statements before the response.
enum Before {
    /// The response begins.
    Begun,
    Ended(Ending),
    /// The client has received the end of the stream.
    Done,
    /// The stream was ended from outside.
    Closed(CloseReason),
    ClientGone,
    Panicked(Box<dyn Any + Send>),
}

/// The status for who is ended before there is a stream.
fn refusal(why: CloseReason) -> StatusCode {
    match why {
        CloseReason::Expired => StatusCode::UNAUTHORIZED,
        CloseReason::Revoked => StatusCode::FORBIDDEN,
        CloseReason::Superseded => StatusCode::CONFLICT,
        CloseReason::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The error of a stream: how it is written for the client, and what it says to the log.
pub struct StreamError<E> {
    item: Item<E>,
    describe: Describe<E>,
}

impl<E> StreamError<E> {
    pub(crate) fn new<Kind>(describe: Describe<E>) -> Self
    where
        E: Payload<Kind>,
    {
        Self {
            item: Item::new(),
            describe,
        }
    }
}

impl<E> fmt::Debug for StreamError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamError").finish_non_exhaustive()
    }
}

fn failed<E: Send + 'static>(StreamError { item, describe }: StreamError<E>, error: E) -> Ending {
    Ending::Failed(Box::new(move |channel, endpoint| {
        channel.write_error(|outgoing| {
            let start = outgoing.buffer.len();
            let mut frame = Frame::of_value(&mut outgoing.buffer).or_event(endpoint.error_event);
            item.encode(&error, &mut frame)?;
            let id = frame.finish();
            outgoing.wrote(id);
            let frame = String::from_utf8_lossy(&outgoing.buffer[start..]);
            tracing::warn!(
                endpoint = endpoint.name,
                path = endpoint.path,
                error = describe(&error),
                frame = frame.trim_end(),
                "the generator ended with an error, which was sent to the client as this frame"
            );
            Ok(())
        });
    }))
}
