use sse_runtime::SseEvent;

#[derive(SseEvent)]
enum Chat {
    #[sse(text = "html")]
    Html(String),
}

fn main() {}
