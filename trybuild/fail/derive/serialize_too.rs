use sse_runtime::SseEvent;

#[derive(SseEvent, serde::Serialize)]
enum Chat {
    Token { text: String },
}

fn main() {}
