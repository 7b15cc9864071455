#![deny(deprecated)]
use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/echo", method = GET)]
async fn echo(text: String) -> impl Stream<Item = String> {
    yield_!(text);
}

fn main() {}
