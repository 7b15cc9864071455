use sse_runtime::SseEvent;

#[derive(SseEvent)]
enum Chat {
    #[sse(text)]
    Html,
}

fn main() {}
