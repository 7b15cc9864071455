fn lines() -> ::sse_runtime::SseRoute<
    fn(Path<String>) -> ::sse_runtime::route::Generator,
> {
    use ::sse_runtime::__private as __sse;
    type __Carried = Result<Line, ReadError>;
    type __Item = <__Carried as __sse::Fallible>::Ok;
    type __Error = <__Carried as __sse::Fallible>::Error;
    async fn lines(
        __stream: __sse::Yielder<__Item>,
        Path(file): Path<String>,
    ) -> ::core::result::Result<__sse::End, __Error> {
        {
            let mut lines = __sse::guard(open(&file)).await?.lines();
            while let Some(line) = __sse::guard(lines.next_line()).await? {
                if line == "." {
                    return ::core::result::Result::Ok(__sse::End::END);
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
        #[allow(unreachable_code)] return ::core::result::Result::Ok(__sse::End::END);
    }
    fn __declared() -> impl Stream<Item = __Carried> {
        __sse::Items::<__Carried>::new()
    }
    let _ = __declared;
    __sse::route(
        __sse::describe!(
            __sse::Endpoint::new:: < __Item > ("/lines/{file}", "lines"); __Item;
            [__Error]; []; [Path < String >]; [Names]; is_deprecated : false
        ),
        |__argument0| __sse::Generator::try_stream(
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
            |__stream| lines(__stream, __argument0),
        ),
    )
}
