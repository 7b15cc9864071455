#[allow(warnings)]
const _: () = {
    #[automatically_derived]
    impl ::sse_runtime::__private::serde::Serialize for AskError {
        fn serialize<__S: ::sse_runtime::__private::serde::Serializer>(
            &self,
            __serializer: __S,
        ) -> ::core::result::Result<__S::Ok, __S::Error> {
            ::sse_runtime::__private::with_head(
                __serializer,
                || {
                    ::sse_runtime::__private::Head::new()
                        .retry(::sse_runtime::SseError::retry_after(self))
                },
                |__serializer| {
                    use ::sse_runtime::__private::{HideMember as _, ShowMember as _};
                    let mut __members = ::sse_runtime::__private::serde::Serializer::serialize_map(
                        __serializer,
                        ::core::option::Option::None,
                    )?;
                    let __problem = ::sse_runtime::SseError::problem(self);
                    match self {
                        Self::NoRoom { room: __field0, .. } => {
                            __problem.write(&[], &mut __members)?;
                            ::sse_runtime::__private::Member(__field0)
                                .member("room", &mut __members)?;
                        }
                        Self::Busy { .. } => {
                            __problem.write(&[], &mut __members)?;
                            ::sse_runtime::__private::retry_after_member(
                                ::sse_runtime::SseError::retry_after(self),
                                "after",
                                &mut __members,
                            )?;
                        }
                        Self::Database { .. } => {
                            __problem.write(&[], &mut __members)?;
                        }
                    }
                    ::sse_runtime::__private::serde::ser::SerializeMap::end(__members)
                },
            )
        }
    }
    #[automatically_derived]
    impl ::sse_runtime::SseError for AskError {
        fn problem(&self) -> ::sse_runtime::__private::Problem {
            match self {
                Self::NoRoom { .. } => {
                    ::sse_runtime::__private::Problem {
                        status: 404u16,
                        kind: ::core::option::Option::None,
                        title: ::core::option::Option::None,
                        detail: ::core::option::Option::None,
                        code: "no_room",
                    }
                }
                Self::Busy { .. } => {
                    ::sse_runtime::__private::Problem {
                        status: 429u16,
                        kind: ::core::option::Option::None,
                        title: ::core::option::Option::Some("Slow down"),
                        detail: ::core::option::Option::None,
                        code: "busy",
                    }
                }
                Self::Database { .. } => {
                    ::sse_runtime::__private::Problem {
                        status: 500u16,
                        kind: ::core::option::Option::None,
                        title: ::core::option::Option::None,
                        detail: ::core::option::Option::None,
                        code: "database",
                    }
                }
            }
        }
        fn retry_after(&self) -> ::core::option::Option<::core::time::Duration> {
            match self {
                Self::NoRoom { .. } => ::core::option::Option::None,
                Self::Busy { after: __after, .. } => {
                    ::sse_runtime::__private::retry_after::<Duration>(__after)
                }
                Self::Database { .. } => ::core::option::Option::None,
            }
        }
    }
    #[automatically_derived]
    impl ::sse_runtime::axum::response::IntoResponse for AskError {
        fn into_response(self) -> ::sse_runtime::axum::response::Response {
            ::sse_runtime::__private::respond(
                &self,
                {
                    #[allow(unused_imports)]
                    use ::sse_runtime::__private::{
                        ByDisplay as _, ByError as _, ByNothing as _,
                    };
                    (&::sse_runtime::__private::Describes::<Self>::new()).description()
                },
            )
        }
    }
};
