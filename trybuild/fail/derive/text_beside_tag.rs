use sse_runtime::SseEvent;

#[derive(SseEvent)]
#[serde(tag = "type", content = "value")]
enum Chat {
    #[sse(text)]
    Html(String),
}

fn main() {}
