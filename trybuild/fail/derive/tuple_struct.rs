use sse_runtime::SseEvent;

#[derive(SseEvent)]
struct Token(String, u32);

fn main() {}
