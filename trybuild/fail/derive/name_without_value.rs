use sse_runtime::SseEvent;

#[derive(SseEvent)]
enum Chat {
    #[sse(event)]
    Token,
}

fn main() {}
