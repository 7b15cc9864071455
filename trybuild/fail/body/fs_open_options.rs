#![deny(deprecated)]
use sse_runtime::{Stream, sse_endpoint};

#[sse_endpoint("/log")]
async fn log() -> impl Stream<Item = bool> {
    let log = std::fs::OpenOptions::new().append(true).open("log");
    yield_!(log.is_ok());
}

fn main() {}
