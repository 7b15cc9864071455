use sse_runtime::sse_endpoint;

struct Ticks;

#[sse_endpoint("/ticks")]
impl Ticks {}

fn main() {}
