//! Detects at compile time which traits a type implements, through autoref specialization.
//!
//! Several traits define a method with the same name, and the compiler tries their receivers in a
//! fixed order. In `(&Typed::<T>::new()).schema()`, it first tries the impl for `&Typed<T>`, then
//! the one for `&&Typed<T>`, and finally the one for `Typed<T>`. It skips an impl whose bounds are
//! not met. This requires `T` to be a concrete type, which it is where the macros are expanded. It
//! does not work in generic functions.

use std::{borrow::Cow, marker::PhantomData, rc::Rc, sync::Arc};

use axum::{
    Form, Json,
    body::Bytes,
    extract::{Path, Query},
    response::Html,
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    event::{
        contract::{Argument, Member, Part, ProblemShape, SchemaOf, Variants},
        last_event_id::LastEventId,
        payload::Text,
        problem::{RetryAfter, SseError},
        sse_event::SseEvent,
    },
    lifecycle::connection::Connection,
};

/// Stands for the type `T`.
pub struct Typed<T: ?Sized>(PhantomData<fn(&T)>);

impl<T: ?Sized> Typed<T> {
    /// Creates a value that stands for `T`.
    pub fn new() -> Self {
        Self(PhantomData)
    }

    /// Returns the function that returns the type's name.
    pub fn __sse_name(&self) -> fn() -> &'static str {
        std::any::type_name::<T>
    }
}

impl<T: ?Sized> Default for Typed<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: ?Sized> Clone for Typed<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Typed<T> {}

impl<T: ?Sized> std::fmt::Debug for Typed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Typed").finish_non_exhaustive()
    }
}

fn schema_of<T: JsonSchema + ?Sized>() -> SchemaOf {
    SchemaOf {
        reference: |generator| generator.subschema_for::<T>(),
        inline: |generator| T::json_schema(generator),
    }
}

/// Types that implement `JsonSchema`.
pub trait HasSchema {
    /// Returns the functions that generate the type's schema.
    fn __sse_schema(self) -> Option<SchemaOf>;
}

impl<T: JsonSchema + ?Sized> HasSchema for &Typed<T> {
    fn __sse_schema(self) -> Option<SchemaOf> {
        Some(schema_of::<T>())
    }
}

/// The fallback for types that do not implement `JsonSchema`.
pub trait NoSchema {
    /// Returns `None`.
    fn __sse_schema(self) -> Option<SchemaOf>;
}

impl<T: ?Sized> NoSchema for Typed<T> {
    fn __sse_schema(self) -> Option<SchemaOf> {
        None
    }
}

/// Types that implement `SseEvent`.
pub trait HasEvents {
    /// Returns the function that describes the type's variants.
    fn __sse_events(self) -> Option<fn() -> Variants>;
}

impl<T: SseEvent> HasEvents for &Typed<T> {
    fn __sse_events(self) -> Option<fn() -> Variants> {
        Some(T::variants)
    }
}

/// Pointers to types that implement `SseEvent`. They serialize as the type itself, so the events
/// have names.
pub trait PointsToEvents {
    /// Returns the function that describes the type's variants.
    fn __sse_events(self) -> Option<fn() -> Variants>;
}

macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<T: SseEvent> PointsToEvents for &&Typed<$pointer> {
            fn __sse_events(self) -> Option<fn() -> Variants> {
                Some(T::variants)
            }
        }

        impl<T: SseError> PointsToProblems for &&Typed<$pointer> {
            fn __sse_problems(self) -> Option<fn() -> Vec<ProblemShape>> {
                Some(T::problems)
            }
        }
    )*};
}

pointers!(Box<T>, Arc<T>, Rc<T>, &'static T);

impl<T: SseEvent + ToOwned> PointsToEvents for &&Typed<Cow<'static, T>> {
    fn __sse_events(self) -> Option<fn() -> Variants> {
        Some(T::variants)
    }
}

/// The fallback for types that do not implement `SseEvent`.
pub trait NoEvents {
    /// Returns `None`.
    fn __sse_events(self) -> Option<fn() -> Variants>;
}

impl<T: ?Sized> NoEvents for Typed<T> {
    fn __sse_events(self) -> Option<fn() -> Variants> {
        None
    }
}

/// Types that implement `SseError`.
pub trait HasProblems {
    /// Returns the function that describes the type's variants.
    fn __sse_problems(self) -> Option<fn() -> Vec<ProblemShape>>;
}

impl<T: SseError> HasProblems for &Typed<T> {
    fn __sse_problems(self) -> Option<fn() -> Vec<ProblemShape>> {
        Some(T::problems)
    }
}

/// Pointers to types that implement `SseError`. They serialize as the type itself.
pub trait PointsToProblems {
    /// Returns the function that describes the type's variants.
    fn __sse_problems(self) -> Option<fn() -> Vec<ProblemShape>>;
}

/// The fallback for types that do not implement `SseError`.
pub trait NoProblems {
    /// Returns `None`.
    fn __sse_problems(self) -> Option<fn() -> Vec<ProblemShape>>;
}

impl<T: ?Sized> NoProblems for Typed<T> {
    fn __sse_problems(self) -> Option<fn() -> Vec<ProblemShape>> {
        None
    }
}

/// Types whose values are sent as text.
pub trait SentAsText {
    /// Returns `true`.
    fn __sse_sends_text(self) -> bool;
}

impl<T> SentAsText for &Typed<Text<T>> {
    fn __sse_sends_text(self) -> bool {
        true
    }
}

impl<T> SentAsText for &Typed<Html<T>> {
    fn __sse_sends_text(self) -> bool {
        true
    }
}

/// The fallback for types whose values are sent as JSON.
pub trait SentAsJson {
    /// Returns `false`.
    fn __sse_sends_text(self) -> bool;
}

impl<T: ?Sized> SentAsJson for Typed<T> {
    fn __sse_sends_text(self) -> bool {
        false
    }
}

/// Types whose values may be events with names.
pub trait OptionalEvents {
    /// Returns `true`.
    fn __sse_may_be_event(self) -> bool;
}

impl<T: SseEvent> OptionalEvents for &Typed<Option<T>> {
    fn __sse_may_be_event(self) -> bool {
        true
    }
}

/// The fallback for all other types.
pub trait NoOptionalEvents {
    /// Returns `false`.
    fn __sse_may_be_event(self) -> bool;
}

impl<T: ?Sized> NoOptionalEvents for Typed<T> {
    fn __sse_may_be_event(self) -> bool {
        false
    }
}

/// Fields that are sent and have a schema.
pub trait KnownMember {
    /// Returns the field's schema.
    fn __sse_member(self) -> Member;
}

impl<T: Serialize + JsonSchema + ?Sized> KnownMember for &Typed<T> {
    fn __sse_member(self) -> Member {
        Member::Known(schema_of::<T>())
    }
}

/// Fields that are sent but have no schema.
pub trait AnyMember {
    /// Returns [`Member::Any`].
    fn __sse_member(self) -> Member;
}

impl<T: Serialize + ?Sized> AnyMember for &&Typed<T> {
    fn __sse_member(self) -> Member {
        Member::Any
    }
}

/// The fallback for fields that are not sent.
pub trait HiddenMember {
    /// Returns [`Member::Hidden`].
    fn __sse_member(self) -> Member;
}

impl<T: ?Sized> HiddenMember for Typed<T> {
    fn __sse_member(self) -> Member {
        Member::Hidden
    }
}

/// Types that can be a retry delay.
pub trait IsDelay {
    /// Returns whether a value of the type is always a delay.
    fn __sse_always_sets(self) -> bool;
}

impl<T: RetryAfter> IsDelay for &Typed<T> {
    fn __sse_always_sets(self) -> bool {
        T::IS_ALWAYS_SET
    }
}

/// The fallback for other types, which the derive rejects elsewhere.
pub trait IsNoDelay {
    /// Returns `false`.
    fn __sse_always_sets(self) -> bool;
}

impl<T: ?Sized> IsNoDelay for Typed<T> {
    fn __sse_always_sets(self) -> bool {
        false
    }
}

/// Describes an extractor that rejects requests without the part.
fn extractor(part: Part, schema: Option<SchemaOf>) -> Argument {
    Argument {
        part,
        schema,
        is_optional: false,
        rejects: true,
    }
}

impl Argument {
    /// Describes an `Option` of the extractor, which still rejects invalid parts.
    fn optional(self) -> Self {
        Self {
            is_optional: true,
            ..self
        }
    }

    /// Describes a `Result` of the extractor.
    fn fallible(self) -> Self {
        Self {
            rejects: false,
            ..self
        }
    }
}

/// Extractors whose contents have a schema.
pub trait KnownArgument {
    /// Describes the extractor.
    fn __sse_argument(self) -> Argument;
}

/// Extractors whose contents have no schema.
pub trait AnyArgument {
    /// Describes the extractor.
    fn __sse_argument(self) -> Argument;
}

macro_rules! extractors {
    ($($extractor:ident => $part:ident),*) => {$(
        impl<T: JsonSchema> KnownArgument for &Typed<$extractor<T>> {
            fn __sse_argument(self) -> Argument {
                extractor(Part::$part, Some(schema_of::<T>()))
            }
        }

        impl<T: JsonSchema> KnownArgument for &Typed<Option<$extractor<T>>> {
            fn __sse_argument(self) -> Argument {
                extractor(Part::$part, Some(schema_of::<T>())).optional()
            }
        }

        impl<T: JsonSchema, R> KnownArgument for &Typed<Result<$extractor<T>, R>> {
            fn __sse_argument(self) -> Argument {
                extractor(Part::$part, Some(schema_of::<T>())).fallible()
            }
        }

        impl<T> AnyArgument for &&Typed<$extractor<T>> {
            fn __sse_argument(self) -> Argument {
                extractor(Part::$part, None)
            }
        }

        impl<T> AnyArgument for &&Typed<Option<$extractor<T>>> {
            fn __sse_argument(self) -> Argument {
                extractor(Part::$part, None).optional()
            }
        }

        impl<T, R> AnyArgument for &&Typed<Result<$extractor<T>, R>> {
            fn __sse_argument(self) -> Argument {
                extractor(Part::$part, None).fallible()
            }
        }
    )*};
}

extractors!(Path => Path, Query => Query, Json => Json, Form => Form);

macro_rules! plain_extractors {
    ($($extractor:ty => $part:ident),*) => {$(
        impl AnyArgument for &&Typed<$extractor> {
            fn __sse_argument(self) -> Argument {
                extractor(Part::$part, None)
            }
        }
    )*};
}

plain_extractors!(String => Text, Bytes => Bytes, Connection => Connection);

impl<T> AnyArgument for &&Typed<LastEventId<T>> {
    fn __sse_argument(self) -> Argument {
        extractor(Part::LastEventId, None).fallible()
    }
}

impl<T> AnyArgument for &&Typed<Option<LastEventId<T>>> {
    fn __sse_argument(self) -> Argument {
        extractor(Part::LastEventId, None).fallible()
    }
}

/// The fallback for every other extractor.
pub trait OtherArgument {
    /// Describes the extractor.
    fn __sse_argument(self) -> Argument;
}

impl<T: ?Sized> OtherArgument for Typed<T> {
    fn __sse_argument(self) -> Argument {
        extractor(Part::Other, None)
    }
}
