//! The macros that generated code uses to describe an endpoint and its types. Without the `openapi`
//! feature, they expand to nothing.
//!
//! They are `macro_rules` macros rather than part of `sse-macros`, because a procedural macro
//! cannot tell which features of the runtime are enabled.

/// Adds the description of its types to an endpoint. The first argument is an expression of type
/// `Endpoint`.
#[cfg(feature = "openapi")]
#[doc(hidden)]
#[macro_export]
macro_rules! __describe {
    (
        $endpoint:expr;
        $item:ty;
        [$($error:ty)?];
        [$($rejection:ty)?];
        [$($argument:ty),*];
        [$($content:ident),*];
        is_deprecated: $is_deprecated:literal
    ) => {
        $endpoint.described(|| {
            #[allow(unused_imports)]
            use $crate::__private::openapi::{
                AnyArgument as _, HasEvents as _, HasProblems as _, HasSchema as _,
                KnownArgument as _, NoEvents as _, NoOptionalEvents as _, NoProblems as _,
                NoSchema as _, OptionalEvents as _, OtherArgument as _, PointsToEvents as _,
                PointsToProblems as _, SentAsJson as _, SentAsText as _,
            };
            $crate::__private::openapi::Contract {
                item: $crate::__private::openapi::payload!($item),
                error: $crate::__private::openapi::optional!(
                    $($crate::__private::openapi::payload!($error))?
                ),
                rejection: $crate::__private::openapi::optional!(
                    $($crate::__private::openapi::payload!($rejection))?
                ),
                arguments: ::std::vec![$((&$crate::__private::openapi::Typed::<$argument>::new()).__sse_argument()),*],
                contents: &[$($crate::__private::openapi::Content::$content),*],
                is_deprecated: $is_deprecated,
            }
        })
    };
}

#[cfg(not(feature = "openapi"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __describe {
    ($endpoint:expr; $($rest:tt)*) => {
        $endpoint
    };
}

/// Expands to `Some` with the argument, or to `None` without one.
#[cfg(feature = "openapi")]
#[doc(hidden)]
#[macro_export]
macro_rules! __optional {
    () => {
        ::core::option::Option::None
    };
    ($value:expr) => {
        ::core::option::Option::Some($value)
    };
}

/// Describes a type whose values are sent.
#[cfg(feature = "openapi")]
#[doc(hidden)]
#[macro_export]
macro_rules! __payload {
    ($type:ty) => {{
        // The type is named only once, because the compiler reports an unmet bound wherever it is
        // named.
        let typed = $crate::__private::openapi::Typed::<$type>::new();
        $crate::__private::openapi::Payload {
            name: typed.__sse_name(),
            schema: (&typed).__sse_schema(),
            events: (&typed).__sse_events(),
            problems: (&typed).__sse_problems(),
            is_text: (&typed).__sse_sends_text(),
            is_optional_event: (&typed).__sse_may_be_event(),
        }
    }};
}

/// Implements the method of [`SseEvent`](trait@crate::SseEvent) that describes the type's variants.
#[cfg(feature = "openapi")]
#[doc(hidden)]
#[macro_export]
macro_rules! __variants {
    ($is_cut:literal; $({ $tag:expr, $event:expr, $data:ident, $is_exact:literal })*) => {
        fn variants() -> $crate::__private::openapi::Variants {
            $crate::__private::openapi::Variants {
                is_cut: $is_cut,
                variants: &[$($crate::__private::openapi::Variant {
                    tag: $tag,
                    event: $event,
                    data: $crate::__private::NamedData::$data,
                    is_exact: $is_exact,
                }),*],
            }
        }
    };
}

#[cfg(not(feature = "openapi"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __variants {
    ($($rest:tt)*) => {};
}

/// Implements the method of [`SseError`](trait@crate::SseError) that describes the type's problems.
#[cfg(feature = "openapi")]
#[doc(hidden)]
#[macro_export]
macro_rules! __problems {
    ($($problem:tt)*) => {
        fn problems() -> ::std::vec::Vec<$crate::__private::openapi::ProblemShape> {
            #[allow(unused_imports)]
            use $crate::__private::openapi::{
                AnyMember as _, HasProblems as _, HiddenMember as _, IsDelay as _, IsNoDelay as _,
                KnownMember as _, NoProblems as _,
            };
            #[allow(unused_mut)]
            let mut problems = ::std::vec::Vec::new();
            $($crate::__private::openapi::problem!(problems $problem);)*
            problems
        }
    };
}

#[cfg(not(feature = "openapi"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __problems {
    ($($rest:tt)*) => {};
}

/// Adds the description of one variant to `$problems`.
#[cfg(feature = "openapi")]
#[doc(hidden)]
#[macro_export]
macro_rules! __problem {
    ($problems:ident { transparent $inside:ty }) => {
        if let ::core::option::Option::Some(inside) =
            (&$crate::__private::openapi::Typed::<$inside>::new()).__sse_problems()
        {
            $problems.extend(inside());
        }
    };
    ($problems:ident {
        $problem:expr, $docs:expr, [$($after:ty, $after_name:expr)?],
        [$({ $name:expr, $is_optional:literal, $type:ty })*]
    }) => {
        $problems.push($crate::__private::openapi::ProblemShape {
            problem: $problem,
            docs: $docs,
            retry_after: $crate::__private::openapi::optional!($({
                $crate::__private::openapi::Delay {
                    name: $after_name,
                    is_always_set: (&$crate::__private::openapi::Typed::<$after>::new()).__sse_always_sets(),
                }
            })?),
            members: ::std::vec![$($crate::__private::openapi::MemberShape {
                name: $name,
                is_optional: $is_optional,
                schema: (&$crate::__private::openapi::Typed::<$type>::new()).__sse_member(),
            }),*],
        });
    };
}
