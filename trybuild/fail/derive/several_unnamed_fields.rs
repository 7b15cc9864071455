use sse_runtime::SseEvent;

#[derive(SseEvent)]
enum Chat {
    Token(String, u32),
}

fn main() {}
