use sse_runtime::SseEvent;

struct Secret;

#[derive(SseEvent)]
enum Chat {
    Token(Secret),
}

fn main() {}
