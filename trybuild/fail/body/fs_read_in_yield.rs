#![deny(deprecated)]
use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/page")]
async fn page() -> impl Stream<Item = String> {
    yield_!(std::fs::read_to_string("page.html").unwrap_or_default());
}

fn main() {}
