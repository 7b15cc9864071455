pub fn answer() -> ::sse_runtime::SseRoute<
    fn(Path<u64>, State<Model>, String) -> ::sse_runtime::route::Generator,
> {
    use ::sse_runtime::__private as __sse;
    type __Carried = Result<Token, Interrupted>;
    type __Item = <__Carried as __sse::Fallible>::Ok;
    type __Error = <__Carried as __sse::Fallible>::Error;
    type __Rejection = <Result<(), StatusCode> as __sse::Fallible>::Error;
    #[tracing::instrument(skip(__stream, model))]
    async fn answer(
        __stream: __sse::Yielder<__Item>,
        Path(room): Path<u64>,
        State(model): State<Model>,
        question: String,
    ) -> ::core::result::Result<__sse::End, __sse::Exit<__Rejection, __Error>> {
        {
            let room = __sse::before_response(__sse::guard(model.room(room)).await)?;
            if room.is_closed() {
                return __sse::return_before_response(Err(StatusCode::GONE));
            }
            let mut tokens = __sse::before_response(
                __sse::guard(first_ok(room.ask(question))).await,
            )?;
            __stream.begin().await;
            {
                __stream.push(Token::first());
                __stream.flushed().await;
            }
            loop {
                tokio::select! {
                    token = tokens.next() => match token { Some(token) => { __stream
                    .push(__sse::in_stream(token) ?); __stream.flushed(). await; }, None
                    => return ::core::result::Result::Ok(__sse::End::END), }, () = room
                    .closed() => return __sse::return_in_stream(Err(Interrupted)),
                }
                {
                    use __sse::PushAll as _;
                    if let ::core::result::Result::Err(error) = __stream
                        .try_part(room.others())
                        .push_all()
                        .await
                    {
                        return ::core::result::Result::Err(__sse::Exit::Stream(error));
                    }
                }
            }
        }
        #[allow(unreachable_code)] return ::core::result::Result::Ok(__sse::End::END);
    }
    fn __declared() -> impl Stream<Item = __Carried> {
        __sse::Items::<__Carried>::new()
    }
    let _ = __declared;
    __sse::route(
        __sse::describe!(
            __sse::Endpoint::new:: < __Item > ("/rooms/{room}/answer", "answer")
            .method(__sse::Method::POST)
            .keep_alive(::core::option::Option::Some(::core::time::Duration::new(5, 0)))
            .error_event("failed"); __Item; [__Error]; [__Rejection]; [Path < u64 >,
            State < Model >, String]; [Topics]; is_deprecated : false
        ),
        |__argument0, __argument1, __argument2| __sse::Generator::try_response(
            {
                #[allow(unused_imports)]
                use __sse::ItemOf as _;
                __sse::Probe::<__Item>::new().item()
            },
            __sse::error::<
                __Error,
                _,
            >({
                #[allow(unused_imports)]
                use __sse::{ByDisplay as _, ByError as _, ByNothing as _};
                (&__sse::Describes::<__Error>::new()).description()
            }),
            __sse::rejection::<__Rejection>(),
            |__stream| answer(__stream, __argument0, __argument1, __argument2),
        ),
    )
}
