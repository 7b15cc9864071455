/// The time, once a second.
fn clock() -> ::sse_runtime::SseRoute<fn() -> ::sse_runtime::route::Generator> {
    use ::sse_runtime::__private as __sse;
    type __Item = Time;
    async fn clock(__stream: __sse::Yielder<__Item>) -> () {
        let mut every = tokio::time::interval(Duration::from_secs(1));
        loop {
            __sse::guard(every.tick()).await;
            {
                __stream.push(Time::now());
                __stream.flushed().await;
            }
        }
    }
    fn __declared() -> impl Stream<Item = __Item> {
        __sse::Items::<__Item>::new()
    }
    let _ = __declared;
    __sse::route(
        __sse::describe!(
            __sse::Endpoint::new:: < __Item > ("/clock", "clock")
            .docs("The time, once a second."); __Item; []; []; []; []; is_deprecated :
            false
        ),
        || __sse::Generator::stream(
            {
                #[allow(unused_imports)]
                use __sse::ItemOf as _;
                __sse::Probe::<__Item>::new().item()
            },
            clock,
        ),
    )
}
