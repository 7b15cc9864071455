use sse_runtime::SseEvent;

#[derive(SseEvent)]
enum Chat {
    #[sse(evnt = "token")]
    Token,
}

fn main() {}
