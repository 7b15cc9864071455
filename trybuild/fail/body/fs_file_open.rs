#![deny(deprecated)]
use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/log")]
async fn log() -> impl Stream<Item = bool> {
    yield_!(std::fs::File::open("log").is_ok());
}

fn main() {}
