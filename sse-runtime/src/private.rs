//! Items used by macro-generated code. Do not use them directly, because they can change in any
//! release.

pub use axum::http::Method;
pub use serde;

pub use crate::{__describe as describe, __problems as problems, __variants as variants};
pub use crate::{
    config::{End as EndKey, Endpoint, Events as EventsKey, Flush, OnCut, OnShutdown},
    event::{
        data::with_head,
        describe::{ByDisplay, ByError, ByNothing, Describe, Describes},
        frame::Head,
        problem::{
            HideMember, Inside, Member, Problem, ShowMember, inside, respond, retry_after,
            retry_after_member, serialize_inside,
        },
        sse_event::{Named, NamedData, SaidBySerde, Shape, event_id, is_text},
    },
    generator::{
        checkpoint::guard,
        exit::{
            Becomes, End, Exit, before_response, error_before_response, error_in_stream, in_stream,
            return_before_response, return_in_stream,
        },
        generator::{ErrorWriter, Generator},
        part::PushAll,
        signature::{Fallible, ItemOf, Items, Probe, Refusal, Rejection},
        yielder::{Item, Yielder, kind},
    },
};
use crate::{endpoint::route::SseRoute, event::payload::ErrorPayload};

/// Returns a stream's error. If `E` does not meet the bounds, the compiler points at that type in
/// the function's signature.
pub fn error<E: ErrorPayload<Kind>, Kind>(describe: Describe<E>) -> ErrorWriter<E> {
    ErrorWriter::new(describe)
}

/// Returns a response's error. If `R` does not meet the bounds, the compiler points at that type in
/// the function's signature.
pub fn rejection<R: Refusal>() -> Rejection<R> {
    R::rejection()
}

/// Creates an endpoint's route.
pub fn route<H>(endpoint: Endpoint, handler: H) -> SseRoute<H> {
    SseRoute::new(handler, endpoint)
}

/// Describes an endpoint and its types. See `describe_macros.rs`.
#[cfg(feature = "openapi")]
pub mod openapi {
    pub use crate::{
        __optional as optional, __payload as payload, __problem as problem,
        event::contract::{
            Argument, Content, Contract, Delay, Member, MemberShape, Part, Payload, ProblemShape,
            SchemaOf, Variant, Variants,
        },
        openapi::probes::{
            AnyArgument, AnyMember, HasEvents, HasProblems, HasSchema, HiddenMember, IsDelay,
            IsNoDelay, KnownArgument, KnownMember, NoEvents, NoOptionalEvents, NoProblems,
            NoSchema, OptionalEvents, OtherArgument, PointsToEvents, PointsToProblems, SentAsJson,
            SentAsText, Typed,
        },
    };
}
