use sse_runtime::sse_endpoint;

#[sse_endpoint("/ticks")]
pub trait Ticks {}

fn main() {}
