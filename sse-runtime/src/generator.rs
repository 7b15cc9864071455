//! [`Generator`]: the user's function on its way from arguments to a response.

use std::{
    fmt,
    future::{Future, poll_fn},
    marker::PhantomData,
    pin::Pin,
    task::Poll,
};

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

use crate::{
    Payload,
    arrival::Arrival,
    body::SseBody,
    channel::Channel,
    endpoint::{Endpoint, Frames},
    response,
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

/// The end of a generator that can fail: what `return` means in it. Nobody else can make one, so `return Ok(…)` does
/// not compile.
#[derive(Clone, Copy, Debug)]
pub struct End(());

impl End {
    /// The one value.
    pub const END: Self = Self(());
}

/// The error type of a response, checked where the signature names it: how it answers.
pub struct Rejection<R> {
    answer: fn(R) -> Response,
}

impl<R> Rejection<R> {
    // The bound is on the `Result`, since axum's own `ErrorResponse` answers only in one.
    pub(crate) fn new() -> Self
    where
        Result<(), R>: IntoResponse,
    {
        Self {
            answer: |rejection| Err::<(), R>(rejection).into_response(),
        }
    }
}

impl<R> fmt::Debug for Rejection<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejection").finish_non_exhaustive()
    }
}

/// The error of a generator that can fail before the response and in the stream; `?` says where it stands.
#[derive(Debug)]
pub enum Exit<R, E> {
    /// Before the response.
    Response(R),
    /// In the stream.
    Stream(E),
}

/// What `?` can turn into `R`.
#[diagnostic::on_unimplemented(
    message = "`?` couldn't convert the error to `{R}`",
    label = "`{R}` is not `From<{Self}>`",
    note = "`?` converts the error with the `From` trait: implement `From<{Self}>` for `{R}`, or use `.map_err(…)` before it"
)]
pub trait Becomes<R> {
    #[doc(hidden)]
    fn become_it(self) -> R;
}

#[diagnostic::do_not_recommend]
impl<X, R: From<X>> Becomes<R> for X {
    fn become_it(self) -> R {
        self.into()
    }
}

/// What `?` can stand behind, in an endpoint that can fail on both sides of the response.
#[diagnostic::on_unimplemented(
    message = "`?` takes a `Result` here, not `{Self}`",
    label = "this is not a `Result`",
    note = "make one of an `Option` with `.ok_or(…)`"
)]
pub trait Tried {
    /// What it holds when all is well.
    type Ok;
    /// What it holds otherwise.
    type Error;
    #[doc(hidden)]
    fn result(self) -> Result<Self::Ok, Self::Error>;
}

impl<T, E> Tried for Result<T, E> {
    type Ok = T;
    type Error = E;

    fn result(self) -> Self {
        self
    }
}

/// What `?` makes of a `Result` before the response, in an endpoint that can fail on both sides of it.
pub fn before_response<F, R, E>(tried: F) -> Result<F::Ok, Exit<R, E>>
where
    F: Tried<Error: Becomes<R>>,
{
    tried.result().map_err(error_before_response)
}

/// What `?` makes of a `Result` in the stream of an endpoint that can fail on both sides of the response.
pub fn in_stream<F, R, E>(tried: F) -> Result<F::Ok, Exit<R, E>>
where
    F: Tried<Error: Becomes<E>>,
{
    tried.result().map_err(error_in_stream)
}

/// What `?` makes of an error before the response.
pub fn error_before_response<X: Becomes<R>, R, E>(error: X) -> Exit<R, E> {
    Exit::Response(error.become_it())
}

/// What `?` makes of an error in the stream.
pub fn error_in_stream<X: Becomes<E>, R, E>(error: X) -> Exit<R, E> {
    Exit::Stream(error.become_it())
}

/// `return result` before the response, in an endpoint that can fail on both sides of it.
pub fn return_before_response<R, E>(result: Result<End, R>) -> Result<End, Exit<R, E>> {
    result.map_err(Exit::Response)
}

/// `return result` in the stream of an endpoint that can fail on both sides of the response.
pub fn return_in_stream<R, E>(result: Result<End, E>) -> Result<End, Exit<R, E>> {
    result.map_err(Exit::Stream)
}

impl Generator {
    /// `impl Stream<Item = T>`.
    pub fn stream<T, F>(item: Item<T>, run: impl FnOnce(Yielder<T>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
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
        error: Item<E>,
        run: impl FnOnce(Yielder<T>) -> F,
    ) -> Self
    where
        F: Future<Output = Result<End, E>> + Send + 'static,
        E: Send + 'static,
    {
        Self::new(item, false, |yielder| {
            let coroutine = run(yielder);
            async move {
                match coroutine.await {
                    Ok(End(())) => Ending::Finished,
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
        F: Future<Output = Result<End, R>> + Send + 'static,
        R: 'static,
    {
        Self::new(item, true, |yielder| {
            let coroutine = run(yielder);
            async move {
                match coroutine.await {
                    Ok(End(())) => Ending::Finished,
                    Err(rejection) => Ending::Rejected(answer(rejection)),
                }
            }
        })
    }

    /// `Result<impl Stream<Item = Result<T, E>>, R>`.
    pub fn try_response<T, E, R, F>(
        item: Item<T>,
        error: Item<E>,
        Rejection { answer }: Rejection<R>,
        run: impl FnOnce(Yielder<T>) -> F,
    ) -> Self
    where
        F: Future<Output = Result<End, Exit<R, E>>> + Send + 'static,
        E: Send + 'static,
        R: 'static,
    {
        Self::new(item, true, |yielder| {
            let coroutine = run(yielder);
            async move {
                match coroutine.await {
                    Ok(End(())) => Ending::Finished,
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
            Some(Ending::Rejected(response)) => response,
            // Nothing was yielded and nothing went wrong: there is no content.
            Some(Ending::Finished) if !self.channel.has_begun() => {
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

fn failed<E: Send + 'static>(item: Item<E>, error: E) -> Ending {
    Ending::Failed(Box::new(move |channel, endpoint| {
        channel.write(|outgoing| {
            let start = outgoing.buffer.len();
            crate::encode::frame(&mut outgoing.buffer, &endpoint.error_fields(), |buffer| {
                item.encode(&error, buffer)
            })?;
            let frame = String::from_utf8_lossy(&outgoing.buffer[start..]);
            tracing::warn!(
                endpoint = endpoint.name,
                path = endpoint.path,
                frame = frame.trim_end(),
                "the generator ended with an error, which was sent to the client"
            );
            Ok(())
        });
    }))
}

/// Finds what the item of a stream is. The inherent method wins over the trait's, and refuses a `Result`, which serde
/// would send as `{"Ok":…}`.
#[derive(Debug)]
pub struct Probe<T>(PhantomData<fn(T)>);

impl<T> Probe<T> {
    /// A probe of `T`.
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Default for Probe<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, E> Probe<Result<T, E>> {
    /// Refused.
    pub fn item<Kind>(self) -> Item<Result<T, E>>
    where
        Result<T, E>: WrittenOut,
    {
        unreachable!("no `Result` is `WrittenOut`")
    }
}

/// See [`Probe`].
pub trait ItemOf<T> {
    /// The item, checked.
    fn item<Kind>(self) -> Item<T>
    where
        T: Payload<Kind>;
}

impl<T> ItemOf<T> for Probe<T> {
    fn item<Kind>(self) -> Item<T>
    where
        T: Payload<Kind>,
    {
        Item::new()
    }
}

/// What no type is.
#[diagnostic::on_unimplemented(
    message = "the item of this stream is a `Result`, but the signature hides it behind another name",
    label = "this is a `Result`",
    note = "write `impl Stream<Item = Result<T, E>>` out: the attribute reads it there"
)]
pub trait WrittenOut {}

/// A `Result`, whatever it is called.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Result`",
    label = "the standard library's `Result` is meant here",
    note = "write `::core::result::Result<T, E>` where another `Result` is in scope"
)]
pub trait Fallible {
    /// What it holds when all is well.
    type Ok;
    /// What it holds otherwise.
    type Error;
}

impl<T, E> Fallible for Result<T, E> {
    type Ok = T;
    type Error = E;
}

/// A stream of `T` that holds none: the return type of an endpoint is checked with it.
#[derive(Debug)]
pub struct Items<T>(PhantomData<fn() -> T>);

impl<T> Items<T> {
    /// No items.
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Default for Items<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> tokio_stream::Stream for Items<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<Option<T>> {
        Poll::Ready(None)
    }
}
