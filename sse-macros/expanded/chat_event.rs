#[allow(warnings)]
const _: () = {
    use ::sse_runtime::__private::serde as __serde;
    #[derive(__serde::Serialize)]
    #[serde(
        crate = "__serde",
        remote = "ChatEvent",
        bound(serialize = "T : __serde :: Serialize")
    )]
    #[serde(rename(serialize = "ChatEvent"))]
    #[serde(rename_all = "camelCase")]
    enum __ChatEvent<T> {
        Token { seq: u64, text: String },
        ToolCall(T),
        Html(String),
        Plain(Note),
        Finished,
    }
    #[automatically_derived]
    impl<T> __serde::Serialize for ChatEvent<T>
    where
        T: __serde::Serialize,
    {
        fn serialize<__S: __serde::Serializer>(
            &self,
            __serializer: __S,
        ) -> ::core::result::Result<__S::Ok, __S::Error> {
            ::sse_runtime::__private::with_head(
                __serializer,
                || match self {
                    Self::Token { seq: __id, .. } => {
                        ::sse_runtime::__private::Head::new()
                            .event("token")
                            .id(::sse_runtime::__private::event_id::<u64>(__id))
                    }
                    Self::ToolCall { .. } => {
                        ::sse_runtime::__private::Head::new().event("call")
                    }
                    Self::Html { 0: __text, .. } => {
                        ::sse_runtime::__private::Head::new()
                            .event("html")
                            .text(::sse_runtime::__private::is_text::<String>(__text))
                    }
                    Self::Plain { .. } => ::sse_runtime::__private::Head::new(),
                    Self::Finished { .. } => {
                        ::sse_runtime::__private::Head::new().event("finished")
                    }
                },
                |__serializer| {
                    use ::sse_runtime::__private::SaidBySerde as _;
                    __ChatEvent::serialize(self, __serializer)
                },
            )
        }
    }
    #[automatically_derived]
    impl<T> ::sse_runtime::SseEvent for ChatEvent<T>
    where
        T: __serde::Serialize,
    {
        const SHAPE: ::sse_runtime::__private::Shape = ::sse_runtime::__private::Shape::Enum(
            &[
                ::sse_runtime::__private::Named {
                    event: ::core::option::Option::Some("token"),
                    data: ::sse_runtime::__private::NamedData::Json,
                },
                ::sse_runtime::__private::Named {
                    event: ::core::option::Option::Some("call"),
                    data: ::sse_runtime::__private::NamedData::Json,
                },
                ::sse_runtime::__private::Named {
                    event: ::core::option::Option::Some("html"),
                    data: ::sse_runtime::__private::NamedData::Text,
                },
                ::sse_runtime::__private::Named {
                    event: ::core::option::Option::None,
                    data: ::sse_runtime::__private::NamedData::Json,
                },
                ::sse_runtime::__private::Named {
                    event: ::core::option::Option::Some("finished"),
                    data: ::sse_runtime::__private::NamedData::Empty,
                },
            ],
        );
    }
};
