use sse_runtime::SseEvent;

#[derive(SseEvent)]
enum Chat {
    #[sse(event = "token", message)]
    Token,
}

fn main() {}
