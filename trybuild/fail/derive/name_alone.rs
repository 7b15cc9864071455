use sse_runtime::SseEvent;

#[derive(SseEvent)]
enum Chat {
    #[sse("token")]
    Token,
}

fn main() {}
