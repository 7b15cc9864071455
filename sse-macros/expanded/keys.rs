::core::compile_error! {
    "`end = \"stop\"` sends a `done` event, which `events = \"own\"` excludes\nhelp: `events = \"own\"` is the default for every method except `GET`; add `events = \"all\"` if clients expect this event"
}
#[allow(warnings)]
pub(crate) fn keys() -> ::events::SseRoute<fn() -> ::events::route::Generator> {
    type __Item = Key;
    async fn keys(
        __stream: ::events::__private::Yielder<__Item>,
    ) -> <[(); ::core::compile_error! {
        "`keep_alive_event` sends keep-alive events, which `events = \"own\"` excludes\nhelp: `events = \"own\"` is the default for every method except `GET`; add `events = \"all\"` if clients expect this event"
    }] as ::events::__private::Fallible>::Ok {
        {
            use ::events::__private::PushAll as _;
            let ::core::result::Result::Ok(()) = __stream
                .part(tokio_stream::iter(Key::ALL))
                .push_all()
                .await;
        }
    }
    fn __declared() -> impl Stream<Item = __Item> {
        ::events::__private::Items::<__Item>::new()
    }
    let _ = __declared;
    ::events::__private::route(
        ::events::__private::describe!(
            ::events::__private::Endpoint::new:: < __Item > ("/keys", "keys")
            .method(::events::__private::Method::PUT)
            .keep_alive(::core::option::Option::Some(::core::time::Duration::new(5, 0)))
            .keep_alive_event("ping").retry(::core::time::Duration::new(3, 0))
            .flush(::events::__private::Flush::Ready)
            .max_duration(::core::time::Duration::new(3600, 0))
            .end(::events::__private::EndKey::Stop).error_event("failed"); __Item; [];
            []; []; [Topics]; is_deprecated : false
        ),
        || ::events::__private::Generator::stream(
            {
                #[allow(unused_imports)]
                use ::events::__private::ItemOf as _;
                ::events::__private::Probe::<__Item>::new().item()
            },
            keys,
        ),
    )
}
