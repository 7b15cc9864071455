use sse_runtime::SseEvent;

#[derive(SseEvent)]
enum Chat {
    #[sse(event = 1)]
    Token,
}

fn main() {}
