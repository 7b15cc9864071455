#[allow(warnings)]
const _: () = {
    use ::sse_runtime::__private as __sse;
    use __sse::serde as __serde;
    #[derive(__serde::Serialize)]
    #[serde(
        crate = "__serde",
        remote = "ChatEvent",
        bound(serialize = "T : __serde :: Serialize")
    )]
    #[serde(rename(serialize = "ChatEvent"))]
    #[serde(rename_all = "camelCase")]
    enum __SseChatEvent<T> {
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
            __sse::with_head(
                __serializer,
                || match self {
                    Self::Token { seq: __id, .. } => {
                        __sse::Head::new()
                            .event("token")
                            .id(__sse::event_id::<u64>(__id))
                    }
                    Self::ToolCall { .. } => __sse::Head::new().event("call"),
                    Self::Html { 0: __text, .. } => {
                        __sse::Head::new()
                            .event("html")
                            .text(__sse::is_text::<String>(__text))
                    }
                    Self::Plain { .. } => __sse::Head::new(),
                    Self::Finished { .. } => __sse::Head::new().event("finished"),
                },
                |__serializer| {
                    use __sse::SaidBySerde as _;
                    __SseChatEvent::serialize(self, __serializer)
                },
            )
        }
    }
    #[automatically_derived]
    impl<T> ::sse_runtime::SseEvent for ChatEvent<T>
    where
        T: __serde::Serialize,
    {
        const SHAPE: __sse::Shape = __sse::Shape::Enum(
            &[
                __sse::Named {
                    event: ::core::option::Option::Some("token"),
                    data: __sse::NamedData::Json,
                },
                __sse::Named {
                    event: ::core::option::Option::Some("call"),
                    data: __sse::NamedData::Json,
                },
                __sse::Named {
                    event: ::core::option::Option::Some("html"),
                    data: __sse::NamedData::Text,
                },
                __sse::Named {
                    event: ::core::option::Option::None,
                    data: __sse::NamedData::Json,
                },
                __sse::Named {
                    event: ::core::option::Option::Some("finished"),
                    data: __sse::NamedData::Empty,
                },
            ],
        );
        __sse::variants! {
            true; { ::core::option::Option::Some("token"),
            ::core::option::Option::Some("token"), Json, true } {
            ::core::option::Option::Some("toolCall"),
            ::core::option::Option::Some("call"), Json, true } {
            ::core::option::Option::Some("html"), ::core::option::Option::Some("html"),
            Text, true } { ::core::option::Option::Some("plain"),
            ::core::option::Option::None, Json, true } {
            ::core::option::Option::Some("finished"),
            ::core::option::Option::Some("finished"), Empty, true }
        }
    }
};
