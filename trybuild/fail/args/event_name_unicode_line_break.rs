use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/ticks", keep_alive_event = "a\u{2028}b")]
async fn ticks() -> impl Stream<Item = u32> {
    yield_!(1);
}

fn main() {}
