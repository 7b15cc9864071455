use sse_runtime::SseEvent;

#[derive(SseEvent)]
enum Chat {
    #[sse(event = "to\nken")]
    Token,
}

fn main() {}
