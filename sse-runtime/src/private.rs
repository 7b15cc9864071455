//! What expanded code calls. Not for use by hand: it changes with every release.

pub use axum::http::Method;
pub use serde;

pub use crate::{
    data::with_head,
    description::{ByDisplay, ByError, ByNothing, Describe, Describes},
    encode::Head,
    endpoint::{End as EndKey, Endpoint, Events as EventsKey, Flush, OnCut, OnShutdown},
    exit::{
        Becomes, End, Exit, before_response, error_before_response, error_in_stream, in_stream,
        return_before_response, return_in_stream,
    },
    generator::{Generator, StreamError},
    guard::guard,
    signature::{Fallible, ItemOf, Items, Probe, Refusal, Rejection},
    sse_error::{
        HideMember, Inside, Member, Problem, ShowMember, inside, respond, retry_after,
        retry_after_member, serialize_inside,
    },
    sse_event::{Named, NamedData, SaidBySerde, Shape, event_id, is_text},
    yielder::{Item, ItemByItem, Yielder, kind},
};
use crate::{payload::ErrorPayload, route::SseRoute};

/// The error of a stream, checked where the signature names it.
pub fn error<E: ErrorPayload<Kind>, Kind>(describe: Describe<E>) -> StreamError<E> {
    StreamError::new(describe)
}

/// The error of a response, checked where the signature names it.
pub fn rejection<R: Refusal>() -> Rejection<R> {
    R::rejection()
}

/// The route of an endpoint.
pub fn route<H>(endpoint: Endpoint, handler: H) -> SseRoute<H> {
    SseRoute::new(handler, endpoint)
}
