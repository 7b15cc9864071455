//! [`Generator`]: the user's function on its way from arguments to a response.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

use crate::{
    CloseReason, Payload,
    arrival::Arrival,
    body::SseBody,
    channel::Channel,
    description::Describe,
    encode::{Fields, Frame},
    endpoint::{Endpoint, Frames},
    exit::{End, Exit},
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
    /// An error before the response.
    Rejected(Response),
    /// An error in the stream. `log` is for the operator, and has been sent to the client as the event's data.
    Failed(WriteError),
}

/// Writes the event that an error in the stream becomes, with the endpoint's name for it.
type WriteError = Box<dyn FnOnce(&Channel, &Endpoint) + Send>;

pub(crate) struct Coroutine(Pin<Box<dyn Future<Output = Ending> + Send>>);

impl Coroutine {
    pub(crate) fn poll(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Ending> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Coroutine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Coroutine")
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
            let coroutine = run(yielder);
            async move {
                coroutine.await;
                Ending::Finished
            }
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
            let coroutine = run(yielder);
            async move {
                match coroutine.await {
                    Ok(End { .. }) => Ending::Finished,
                    Err(failure) => failed(error, failure),
                }
            }
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
            let coroutine = run(yielder);
            async move {
                match coroutine.await {
                    Ok(End { .. }) => Ending::Finished,
                    Err(rejection) => Ending::Rejected(answer(rejection)),
                }
            }
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
            let coroutine = run(yielder);
            async move {
                match coroutine.await {
                    Ok(End { .. }) => Ending::Finished,
                    Err(Exit::Response(rejection)) => Ending::Rejected(answer(rejection)),
                    Err(Exit::Stream(failure)) => failed(error, failure),
                }
            }
        })
    }

    fn new<T, F>(item: Item<T>, prelude: bool, run: impl FnOnce(Yielder<T>) -> F) -> Self
    where
        F: Future<Output = Ending> + Send + 'static,
    {
        let channel = Channel::new();
        let coroutine = run(Yielder::new(item, channel.clone()));
        Self {
            coroutine: Coroutine(Box::pin(coroutine)),
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
        mut self,
        arrival: Arrival,
        mut unread: Unread,
        endpoint: &Endpoint,
        frames: &Frames,
    ) -> Response {
        self.channel.open(endpoint.flush, arrival.last_id.clone());
        let ended = if self.prelude {
            poll_fn(|cx| {
                if unread.poll_drain(cx).is_err() {
                    // Likely nobody is left to read it. axum's own extractors answer the same.
                    let rejected = Ending::Rejected(StatusCode::BAD_REQUEST.into_response());
                    return Poll::Ready(Some(rejected));
                }
                match self.coroutine.poll(cx) {
                    Poll::Ready(ending) => Poll::Ready(Some(ending)),
                    Poll::Pending if self.channel.has_begun() => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                }
            })
            .await
        } else {
            None
        };
        match ended {
            Some(Ending::Rejected(response)) => {
                arrival.guard.end(CloseReason::Failed);
                response
            }
            // Nothing was yielded and nothing went wrong: there is no content.
            Some(Ending::Finished) if !self.channel.has_begun() => {
                arrival.guard.end(CloseReason::Finished);
                StatusCode::NO_CONTENT.into_response()
            }
            ended => {
                let version = arrival.version;
                let head = response::head(&arrival);
                let body = SseBody::new(self, ended, arrival, unread, endpoint, frames);
                response::stream(version, head, body)
            }
        }
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
        channel.write(|outgoing| {
            let start = outgoing.buffer.len();
            let mut frame =
                Frame::new(&mut outgoing.buffer, &Fields::default()).or_event(endpoint.error_event);
            item.encode(&error, &mut frame)?;
            let id = frame.finish();
            outgoing.remember(id);
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
