use sse_runtime::SseEvent;

#[derive(SseEvent)]
enum Chat {
    #[sse(text message)]
    Html(String),
}

fn main() {}
