use sse_runtime::SseEvent;

struct Secret;

#[derive(SseEvent)]
enum Chat {
    Token { text: String, secret: Secret },
}

fn main() {}
