fn order_steps() -> ::sse_runtime::SseRoute<
    fn(State<Orders>, Path<u64>) -> ::sse_runtime::__private::Generator,
> {
    type __Item = Step;
    type __Rejection = <Result<
        (),
        StatusCode,
    > as ::sse_runtime::__private::Fallible>::Error;
    async fn order_steps(
        __stream: ::sse_runtime::__private::Yielder<__Item>,
        State(orders): State<Orders>,
        Path(id): Path<u64>,
    ) -> ::core::result::Result<::sse_runtime::__private::End, __Rejection> {
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
        {
            let order = ::sse_runtime::__private::guard(orders.find(id))
                .await
                .ok_or(StatusCode::NOT_FOUND)?;
            __stream.begin().await;
            while let Some(step) = ::sse_runtime::__private::guard(order.next_step())
                .await
            {
                {
                    __stream.push(step);
                    __stream.flushed().await;
                }
            }
        }
        #[allow(unreachable_code)]
        return ::core::result::Result::Ok(::sse_runtime::__private::End::END);
    }
    fn __declared() -> impl Stream<Item = __Item> {
        ::sse_runtime::__private::Items::<__Item>::new()
    }
    let _ = __declared;
    ::sse_runtime::__private::route(
        ::sse_runtime::__private::Endpoint::new::<
            __Item,
        >("/orders/{id}/steps", "order_steps"),
        |__argument0, __argument1| ::sse_runtime::__private::Generator::response(
            {
                #[allow(unused_imports)]
                use ::sse_runtime::__private::ItemOf as _;
                ::sse_runtime::__private::Probe::<__Item>::new().item()
            },
            ::sse_runtime::__private::rejection::<__Rejection>(),
            |__stream| order_steps(__stream, __argument0, __argument1),
        ),
    )
}
