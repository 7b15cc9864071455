//! What the types in an endpoint's signature have to be. Each is checked once, where the user wrote it.

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use axum::response::{IntoResponse, Response};

use crate::{
    event::{event::Event, payload::Payload},
    generator::yielder::Item,
};

/// The error type of a response, checked where the signature names it: how it answers.
pub struct Rejection<R> {
    pub(crate) answer: fn(R) -> Response,
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

/// What the error of a response is: a response.
///
/// A trait of ours, since axum's message does not name [`SseError`](derive@crate::SseError).
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the response of this endpoint",
    label = "this is not a response",
    note = "derive `sse_runtime::SseError` for it, which gives each variant a status; or implement `axum::response::IntoResponse`; or name a type that is one, such as `axum::http::StatusCode`"
)]
pub trait Refusal: Sized {
    #[doc(hidden)]
    fn rejection() -> Rejection<Self>;
}

#[diagnostic::do_not_recommend]
impl<R> Refusal for R
where
    Result<(), R>: IntoResponse,
{
    fn rejection() -> Rejection<R> {
        Rejection::new()
    }
}

impl<R> fmt::Debug for Rejection<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejection").finish_non_exhaustive()
    }
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

impl<T> Probe<Event<T>> {
    /// Refused.
    pub fn item<Kind>(self) -> Item<Event<T>>
    where
        Event<T>: PlainItem,
    {
        unreachable!("no `Event` is a `PlainItem`")
    }
}

/// What an `Event` is not.
#[diagnostic::on_unimplemented(
    message = "the item of a stream is the value itself, not an `Event` of it",
    label = "this is an `Event`",
    note = "write `impl Stream<Item = T>` with the `T` in it; `yield_!` takes a `T` and an `Event<T>`, each where it is wanted"
)]
pub trait PlainItem {}

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

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<T>> {
        Poll::Ready(None)
    }
}
