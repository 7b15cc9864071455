use sse_runtime::{Stream, sse_endpoint};

struct Text<'a>(&'a str);

#[sse_endpoint("/ticks")]
async fn ticks(text: Text<'_>) -> impl Stream<Item = u32> {
    yield_!(1);
}

fn main() {
    let _ = ticks();
}
