use sse_runtime::SseEvent;

#[derive(SseEvent)]
enum Chat {
    #[sse(event = "token", event = "word")]
    Token,
}

fn main() {}
