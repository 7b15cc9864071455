use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/chat", method = POST, keep_alive_event = "ping")]
async fn chat() -> impl Stream<Item = u8> {
    yield_!(1);
}

fn main() {}
