fn order_steps() -> ::sse_runtime::SseRoute<
    fn(State<Orders>, Path<u64>) -> ::sse_runtime::route::Generator,
> {
    use ::sse_runtime::__private as __sse;
    type __Item = Step;
    type __Rejection = <Result<(), StatusCode> as __sse::Fallible>::Error;
    async fn order_steps(
        __stream: __sse::Yielder<__Item>,
        State(orders): State<Orders>,
        Path(id): Path<u64>,
    ) -> ::core::result::Result<__sse::End, __Rejection> {
        {
            let order = __sse::guard(orders.find(id))
                .await
                .ok_or(StatusCode::NOT_FOUND)?;
            __stream.begin().await;
            while let Some(step) = __sse::guard(order.next_step()).await {
                {
                    __stream.push(step);
                    __stream.flushed().await;
                }
            }
        }
        #[allow(unreachable_code)] return ::core::result::Result::Ok(__sse::End::END);
    }
    fn __declared() -> impl Stream<Item = __Item> {
        __sse::Items::<__Item>::new()
    }
    let _ = __declared;
    __sse::route(
        __sse::describe!(
            __sse::Endpoint::new:: < __Item > ("/orders/{id}/steps", "order_steps");
            __Item; []; [__Rejection]; [State < Orders >, Path < u64 >]; [];
            is_deprecated : false
        ),
        |__argument0, __argument1| __sse::Generator::response(
            {
                #[allow(unused_imports)]
                use __sse::ItemOf as _;
                __sse::Probe::<__Item>::new().item()
            },
            __sse::rejection::<__Rejection>(),
            |__stream| order_steps(__stream, __argument0, __argument1),
        ),
    )
}
