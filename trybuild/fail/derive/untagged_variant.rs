use sse_runtime::SseEvent;

#[derive(SseEvent)]
enum Chat {
    Token(String),
    #[serde(untagged)]
    Other(u32),
}

fn main() {}
