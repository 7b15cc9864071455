use sse_runtime::SseEvent;

#[derive(SseEvent)]
enum Chat {
    Token,
    #[sse(event = "token")]
    Word,
}

fn main() {}
