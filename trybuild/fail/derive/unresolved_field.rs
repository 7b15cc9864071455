use sse_runtime::SseEvent;

#[derive(SseEvent)]
enum Chat {
    Token { text: Strin },
}

fn main() {}
