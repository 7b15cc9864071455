#[allow(warnings)]
const _: () = {
    use ::sse_runtime::__private as __sse;
    #[automatically_derived]
    impl __sse::serde::Serialize for AskError {
        fn serialize<__S: __sse::serde::Serializer>(
            &self,
            __serializer: __S,
        ) -> ::core::result::Result<__S::Ok, __S::Error> {
            __sse::with_head(
                __serializer,
                || {
                    __sse::Head::new()
                        .retry(::sse_runtime::SseError::retry_after(self))
                        .stop(::sse_runtime::SseError::problem(self).stop)
                },
                |__serializer| {
                    use __sse::{HideMember as _, ShowMember as _};
                    let mut __members = __sse::serde::Serializer::serialize_map(
                        __serializer,
                        ::core::option::Option::None,
                    )?;
                    let __problem = ::sse_runtime::SseError::problem(self);
                    match self {
                        Self::NoRoom { room: __field0, .. } => {
                            __problem.write(&[], &mut __members)?;
                            __sse::Member(__field0).member("room", &mut __members)?;
                        }
                        Self::Busy { .. } => {
                            __problem.write(&[], &mut __members)?;
                            __sse::retry_after_member(
                                ::sse_runtime::SseError::retry_after(self),
                                "after",
                                &mut __members,
                            )?;
                        }
                        Self::Database { .. } => {
                            __problem.write(&[], &mut __members)?;
                        }
                    }
                    __sse::serde::ser::SerializeMap::end(__members)
                },
            )
        }
    }
    #[automatically_derived]
    impl ::sse_runtime::SseError for AskError {
        fn problem(&self) -> __sse::Problem {
            match self {
                Self::NoRoom { .. } => {
                    __sse::Problem {
                        status: 404u16,
                        kind: ::core::option::Option::None,
                        title: ::core::option::Option::None,
                        detail: ::core::option::Option::None,
                        code: "no_room",
                        stop: false,
                    }
                }
                Self::Busy { .. } => {
                    __sse::Problem {
                        status: 429u16,
                        kind: ::core::option::Option::None,
                        title: ::core::option::Option::Some("Slow down"),
                        detail: ::core::option::Option::None,
                        code: "busy",
                        stop: false,
                    }
                }
                Self::Database { .. } => {
                    __sse::Problem {
                        status: 500u16,
                        kind: ::core::option::Option::None,
                        title: ::core::option::Option::None,
                        detail: ::core::option::Option::None,
                        code: "database",
                        stop: false,
                    }
                }
            }
        }
        fn retry_after(&self) -> ::core::option::Option<::core::time::Duration> {
            match self {
                Self::NoRoom { .. } => ::core::option::Option::None,
                Self::Busy { after: __after, .. } => {
                    __sse::retry_after::<Duration>(__after)
                }
                Self::Database { .. } => ::core::option::Option::None,
            }
        }
        __sse::problems! {
            { __sse::Problem { status : 404u16, kind : ::core::option::Option::None,
            title : ::core::option::Option::None, detail : ::core::option::Option::None,
            code : "no_room", stop : false, }, "", [], [{ "room", false, u64 }] } {
            __sse::Problem { status : 429u16, kind : ::core::option::Option::None, title
            : ::core::option::Option::Some("Slow down"), detail :
            ::core::option::Option::None, code : "busy", stop : false, }, "", [Duration,
            ::core::option::Option::Some("after")], [] } { __sse::Problem { status :
            500u16, kind : ::core::option::Option::None, title :
            ::core::option::Option::None, detail : ::core::option::Option::None, code :
            "database", stop : false, }, "", [], [] }
        }
    }
    #[automatically_derived]
    impl ::sse_runtime::axum::response::IntoResponse for AskError {
        fn into_response(self) -> ::sse_runtime::axum::response::Response {
            __sse::respond(
                &self,
                {
                    #[allow(unused_imports)]
                    use __sse::{ByDisplay as _, ByError as _, ByNothing as _};
                    (&__sse::Describes::<Self>::new()).description()
                },
            )
        }
    }
};
