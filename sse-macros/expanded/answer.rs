pub fn answer() -> ::sse_runtime::SseRoute<
    fn(Path<u64>, State<Model>, String) -> ::sse_runtime::__private::Generator,
> {
    type __Carried = Result<Token, Interrupted>;
    type __Item = <__Carried as ::sse_runtime::__private::Fallible>::Ok;
    type __Error = <__Carried as ::sse_runtime::__private::Fallible>::Error;
    type __Rejection = <Result<
        (),
        StatusCode,
    > as ::sse_runtime::__private::Fallible>::Error;
    #[tracing::instrument(skip(__stream, model))]
    async fn answer(
        __stream: ::sse_runtime::__private::Yielder<__Item>,
        Path(room): Path<u64>,
        State(model): State<Model>,
        question: String,
    ) -> ::core::result::Result<
        ::sse_runtime::__private::End,
        ::sse_runtime::__private::Exit<__Rejection, __Error>,
    > {
        #[allow(unused_macros)]
        macro_rules! yield_ {
            ($($operand:tt)*) => {
                { __stream.push($($operand)*); __stream.flushed(). await; }
            };
        }
        #[allow(unused_macros)]
        macro_rules! yield_all {
            ($($operand:tt)*) => {
                { use ::sse_runtime::__private::ItemByItem as _; if let
                ::core::result::Result::Err(error) = __stream.try_part($($operand)*)
                .push_all(). await { return
                ::core::result::Result::Err(::sse_runtime::__private::Exit::Stream(error));
                } }
            };
        }
        {
            let room = ::sse_runtime::__private::before_response(
                ::sse_runtime::__private::guard(model.room(room)).await,
            )?;
            if room.is_closed() {
                return ::sse_runtime::__private::return_before_response(
                    Err(StatusCode::GONE),
                );
            }
            let mut tokens = ::sse_runtime::__private::before_response(
                ::sse_runtime::__private::guard(first_ok(room.ask(question))).await,
            )?;
            __stream.begin().await;
            {
                __stream.push(Token::first());
                __stream.flushed().await;
            }
            loop {
                tokio::select! {
                    token = tokens.next() => match token { Some(token) => { __stream
                    .push(::sse_runtime::__private::in_stream(token) ?); __stream
                    .flushed(). await; }, None => return
                    ::core::result::Result::Ok(::sse_runtime::__private::End::END), }, ()
                    = room.closed() => return
                    ::sse_runtime::__private::return_in_stream(Err(Interrupted)),
                }
                {
                    use ::sse_runtime::__private::ItemByItem as _;
                    if let ::core::result::Result::Err(error) = __stream
                        .try_part(room.others())
                        .push_all()
                        .await
                    {
                        return ::core::result::Result::Err(
                            ::sse_runtime::__private::Exit::Stream(error),
                        );
                    }
                }
            }
        }
        #[allow(unreachable_code)]
        return ::core::result::Result::Ok(::sse_runtime::__private::End::END);
    }
    fn __declared() -> impl Stream<Item = __Carried> {
        ::sse_runtime::__private::Items::<__Carried>::new()
    }
    let _ = __declared;
    ::sse_runtime::__private::route(
        ::sse_runtime::__private::Endpoint::new::<
            __Item,
        >("/rooms/{room}/answer", "answer")
            .method(::sse_runtime::__private::Method::POST)
            .keep_alive(::core::option::Option::Some(::core::time::Duration::new(5, 0)))
            .error_event("failed"),
        |__argument0, __argument1, __argument2| ::sse_runtime::__private::Generator::try_response(
            {
                #[allow(unused_imports)]
                use ::sse_runtime::__private::ItemOf as _;
                ::sse_runtime::__private::Probe::<__Item>::new().item()
            },
            ::sse_runtime::__private::error::<
                __Error,
                _,
            >({
                #[allow(unused_imports)]
                use ::sse_runtime::__private::{
                    ByDisplay as _, ByError as _, ByNothing as _,
                };
                (&::sse_runtime::__private::Describes::<__Error>::new()).description()
            }),
            ::sse_runtime::__private::rejection::<__Rejection>(),
            |__stream| answer(__stream, __argument0, __argument1, __argument2),
        ),
    )
}
