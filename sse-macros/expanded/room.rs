fn room() -> ::sse_runtime::SseRoute<
    fn(Path<u64>, Rooms) -> ::sse_runtime::route::Generator,
> {
    use ::sse_runtime::__private as __sse;
    type __Item = Said;
    async fn room(
        __stream: __sse::Yielder<__Item>,
        Path(room): Path<u64>,
        mut rooms: Rooms,
    ) -> () {
        #[allow(unused_macros)]
        macro_rules! yield_ {
            ($($operand:tt)*) => {
                { __stream.push($($operand)*); __stream.flushed(). await; }
            };
        }
        #[allow(unused_macros)]
        macro_rules! yield_all {
            ($($operand:tt)*) => {
                { use __sse::PushAll as _; let ::core::result::Result::Ok(()) = __stream
                .part($($operand)*).push_all(). await; }
            };
        }
        macro_rules! say {
            ($text:expr) => {
                yield_!(Said::by_the_room($text))
            };
        }
        say!("hello");
        loop {
            tokio::select! {
                said = rooms.next(room) => match said { Some(said) => { __stream
                .push(said); __stream.flushed(). await; }, None => return, }, () =
                tokio::time::sleep(QUIET) => say!("anybody there?"),
            }
        }
    }
    fn __declared() -> impl Stream<Item = __Item> {
        __sse::Items::<__Item>::new()
    }
    let _ = __declared;
    __sse::route(
        __sse::describe!(
            __sse::Endpoint::new:: < __Item > ("/rooms/{room}", "room"); __Item; []; [];
            [Path < u64 >, Rooms]; []; is_deprecated : false
        ),
        |__argument0, __argument1| __sse::Generator::stream(
            {
                #[allow(unused_imports)]
                use __sse::ItemOf as _;
                __sse::Probe::<__Item>::new().item()
            },
            |__stream| room(__stream, __argument0, __argument1),
        ),
    )
}
