use sse_runtime::SseEvent;

#[derive(SseEvent)]
enum Chat {
    #[sse(id)]
    Token(u64),
}

fn main() {}
