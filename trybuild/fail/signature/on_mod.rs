use sse_runtime::sse_endpoint;

#[sse_endpoint("/ticks")]
mod ticks {}

fn main() {}
