//! What expanded code calls. Not for use by hand: it changes with every release.

use std::{future::poll_fn, pin::Pin};

use tokio_stream::Stream;

pub use axum::http::Method;

use crate::{Payload, route::SseRoute};
pub use crate::{
    endpoint::{End as EndKey, Endpoint, Flush},
    generator::{
        BeforeResponse, End, Exit, Fallible, Generator, InStream, ItemOf, Items, Probe, Rejection,
        before_response, in_stream, return_before_response, return_in_stream,
    },
    guard::guard,
    yielder::{Item, Yielder, kind},
};

/// The error of a stream, checked where the signature names it.
pub fn error<E: Payload<Kind>, Kind>() -> Item<E> {
    Item::new()
}

/// The error of a response, checked where the signature names it.
pub fn rejection<R>() -> Rejection<R>
where
    Result<(), R>: axum::response::IntoResponse,
{
    Rejection::new()
}

/// The route of an endpoint.
pub fn route<H>(endpoint: Endpoint, handler: H) -> SseRoute<H> {
    SseRoute::new(handler, endpoint)
}

/// The next item of a stream.
pub async fn next<S: Stream>(stream: &mut Pin<&mut S>) -> Option<S::Item> {
    poll_fn(|cx| stream.as_mut().poll_next(cx)).await
}

/// `yield_!`, for the yielder that it is given.
#[doc(hidden)]
#[macro_export]
macro_rules! __push {
    ($yielder:ident, $value:expr $(,)?) => {{
        // A statement of its own: what the value borrowed is given back before the generator waits.
        $yielder.push($value);
        $yielder.flushed().await
    }};
    ($yielder:ident $(,)?) => {
        ::core::compile_error!("`yield_!` takes one value")
    };
    ($yielder:ident, $($values:tt)*) => {
        ::core::compile_error!("`yield_!` takes one value; wrap several in a tuple or a struct")
    };
}

/// `yield_all!`, in a stream that cannot fail.
#[doc(hidden)]
#[macro_export]
macro_rules! __push_all {
    ($yielder:ident, $stream:expr $(,)?) => {{
        let mut stream = ::core::pin::pin!($stream);
        while let ::core::option::Option::Some(value) =
            $crate::__private::guard($crate::__private::next(&mut stream)).await
        {
            $yielder.push(value);
            $yielder.flushed().await
        }
    }};
    ($yielder:ident $($stream:tt)*) => {
        ::core::compile_error!("`yield_all!` takes one stream")
    };
}

/// `yield_all!`, in a stream that can fail: `$place` says what its error becomes.
#[doc(hidden)]
#[macro_export]
macro_rules! __try_push_all {
    ($place:path, $yielder:ident, $stream:expr $(,)?) => {{
        let mut stream = ::core::pin::pin!($stream);
        while let ::core::option::Option::Some(value) =
            $crate::__private::guard($crate::__private::next(&mut stream)).await
        {
            if let ::core::result::Result::Err(error) = $yielder.try_push(value) {
                return ::core::result::Result::Err($place(error));
            }
            $yielder.flushed().await
        }
    }};
    ($place:path, $yielder:ident $($stream:tt)*) => {
        ::core::compile_error!("`yield_all!` takes one stream")
    };
}
