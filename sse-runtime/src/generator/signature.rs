//! The bounds on the types in an endpoint's signature. Each bound is checked once, at the type that
//! the user wrote, so that the compiler reports an unmet bound only once and points to that type.

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

/// Represents the error type `R` of a response and contains the function that converts an error
/// into a response. `R` is unbounded here; its bounds are checked where it appears in the
/// endpoint's signature.
pub struct Rejection<R> {
    pub(crate) answer: fn(R) -> Response,
}

impl<R> Rejection<R> {
    // The bound is on the `Result` because axum's `ErrorResponse` does not implement
    // `IntoResponse`. Only a `Result` with that error type does.
    pub(crate) fn new() -> Self
    where
        Result<(), R>: IntoResponse,
    {
        Self {
            answer: |rejection| Err::<(), R>(rejection).into_response(),
        }
    }
}

/// Errors that an endpoint can return as its response.
///
/// This crate defines its own trait because the compiler's error message for axum's `IntoResponse`
/// does not mention [`SseError`](derive@crate::SseError).
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be used as the response of this endpoint",
    label = "this is not a response",
    note = "derive `sse_runtime::SseError`, which assigns a status to each variant; implement `axum::response::IntoResponse`; or use a type that already does, such as `axum::http::StatusCode`"
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

/// Determines a stream's item type. The inherent methods take precedence over the trait method and
/// reject `Event` and `Result` as item types. If a `Result` were accepted, serde would serialize it
/// as `{"Ok":…}`.
#[derive(Debug)]
pub struct Probe<T>(PhantomData<fn(T)>);

impl<T> Probe<T> {
    /// Creates a probe for `T`.
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
    /// Rejected at compile time.
    pub fn item<Kind>(self) -> Item<Result<T, E>>
    where
        Result<T, E>: WrittenOut,
    {
        unreachable!("no `Result` is `WrittenOut`")
    }
}

impl<T> Probe<Event<T>> {
    /// Rejected at compile time.
    pub fn item<Kind>(self) -> Item<Event<T>>
    where
        Event<T>: PlainItem,
    {
        unreachable!("no `Event` is a `PlainItem`")
    }
}

/// Not implemented for any type. A method with this bound therefore rejects an `Event` as the item
/// type.
#[diagnostic::on_unimplemented(
    message = "the item of a stream must be the value itself, not an `Event`",
    label = "this is an `Event`",
    note = "write `impl Stream<Item = T>` instead of `impl Stream<Item = Event<T>>`; `yield_!` accepts both a `T` and an `Event<T>`"
)]
pub trait PlainItem {}

/// See [`Probe`].
pub trait ItemOf<T> {
    /// Returns the checked item.
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

/// Not implemented for any type. A method with this bound therefore rejects a `Result` as the item
/// type. The attribute itself does not recognize a `Result` if the signature uses an alias for it.
#[diagnostic::on_unimplemented(
    message = "this stream's item is a `Result`, but the signature uses an alias for it",
    label = "this is a `Result`",
    note = "write `impl Stream<Item = Result<T, E>>`, since the attribute reads the type from the signature"
)]
pub trait WrittenOut {}

/// Implemented only for `Result`, even if the signature uses an alias for it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Result`",
    label = "expected the standard library's `Result`",
    note = "if another `Result` is in scope, write `::core::result::Result<T, E>`"
)]
pub trait Fallible {
    /// The success type.
    type Ok;
    /// The error type.
    type Error;
}

impl<T, E> Fallible for Result<T, E> {
    type Ok = T;
    type Error = E;
}

/// An empty stream of `T`, used to check an endpoint's return type.
#[derive(Debug)]
pub struct Items<T>(PhantomData<fn() -> T>);

impl<T> Items<T> {
    /// Creates an empty stream.
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
