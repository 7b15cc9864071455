use sse_runtime::SseEvent;

#[derive(SseEvent)]
#[sse(event = "chat")]
enum Chat {
    Token,
}

fn main() {}
