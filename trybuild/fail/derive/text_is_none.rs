use sse_runtime::SseEvent;

#[derive(SseEvent)]
enum Chat {
    #[sse(text)]
    Html(Vec<u8>),
}

fn main() {}
