use sse_runtime::{Stream, sse_endpoint};

struct Ticks;

impl Ticks {
    #[sse_endpoint("/ticks")]
    async fn ticks(&self) -> impl Stream<Item = u32> {
        yield_!(1);
    }
}

fn main() {}
