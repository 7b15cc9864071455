/// The time, once a second.
fn clock() -> ::sse_runtime::SseRoute<fn() -> ::sse_runtime::__private::Generator> {
    type __Item = Time;
    async fn clock(__stream: ::sse_runtime::__private::Yielder<__Item>) -> () {
        #[allow(unused_macros)]
        macro_rules! yield_ {
            ($($operand:tt)*) => {
                { __stream.push($($operand)*); __stream.flushed(). await; }
            };
        }
        #[allow(unused_macros)]
        macro_rules! yield_all {
            ($($operand:tt)*) => {
                { use ::sse_runtime::__private::ItemByItem as _; let
                ::core::result::Result::Ok(()) = __stream.part($($operand)*).push_all().
                await; }
            };
        }
        let mut every = tokio::time::interval(Duration::from_secs(1));
        loop {
            ::sse_runtime::__private::guard(every.tick()).await;
            {
                __stream.push(Time::now());
                __stream.flushed().await;
            }
        }
    }
    fn __declared() -> impl Stream<Item = __Item> {
        ::sse_runtime::__private::Items::<__Item>::new()
    }
    let _ = __declared;
    ::sse_runtime::__private::route(
        ::sse_runtime::__private::Endpoint::new::<__Item>("/clock", "clock")
            .docs("The time, once a second."),
        || ::sse_runtime::__private::Generator::stream(
            {
                #[allow(unused_imports)]
                use ::sse_runtime::__private::ItemOf as _;
                ::sse_runtime::__private::Probe::<__Item>::new().item()
            },
            clock,
        ),
    )
}
