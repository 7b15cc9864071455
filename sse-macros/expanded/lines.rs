fn lines() -> ::sse_runtime::SseRoute<
    fn(Path<String>) -> ::sse_runtime::__private::Generator,
> {
    type __Carried = Result<Line, ReadError>;
    type __Item = <__Carried as ::sse_runtime::__private::Fallible>::Ok;
    type __Error = <__Carried as ::sse_runtime::__private::Fallible>::Error;
    async fn lines(
        __stream: ::sse_runtime::__private::Yielder<__Item>,
        Path(file): Path<String>,
    ) -> ::core::result::Result<::sse_runtime::__private::End, __Error> {
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
                .push_all(). await { return ::core::result::Result::Err(error); } }
            };
        }
        {
            let mut lines = ::sse_runtime::__private::guard(open(&file)).await?.lines();
            while let Some(line) = ::sse_runtime::__private::guard(lines.next_line())
                .await?
            {
                if line == "." {
                    return ::core::result::Result::Ok(
                        ::sse_runtime::__private::End::END,
                    );
                }
                if line.starts_with('!') {
                    return Err(ReadError::Refused(line));
                }
                {
                    __stream.push(Event::json(Line(line)).event("line"));
                    __stream.flushed().await;
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
        ::sse_runtime::__private::Endpoint::new::<__Item>("/lines/{file}", "lines"),
        |__argument0| ::sse_runtime::__private::Generator::try_stream(
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
            |__stream| lines(__stream, __argument0),
        ),
    )
}
