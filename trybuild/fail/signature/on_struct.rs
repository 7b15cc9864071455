use sse_runtime::sse_endpoint;

#[sse_endpoint("/ticks")]
pub struct Ticks;

fn main() {}
