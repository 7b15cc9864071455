//! What expanded code calls. Not for use by hand: it changes with every release.

pub use axum::http::Method;

use crate::{Payload, route::SseRoute};
pub use crate::{
    endpoint::{End as EndKey, Endpoint, Flush},
    exit::{
        Becomes, End, Exit, before_response, error_before_response, error_in_stream, in_stream,
        return_before_response, return_in_stream,
    },
    generator::Generator,
    guard::guard,
    signature::{Fallible, ItemOf, Items, Probe, Rejection},
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
