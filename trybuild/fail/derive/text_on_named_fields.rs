use sse_runtime::SseEvent;

#[derive(SseEvent)]
enum Chat {
    #[sse(text)]
    Html { text: String },
}

fn main() {}
