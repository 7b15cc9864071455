use sse_runtime::SseEvent;

#[derive(SseEvent)]
#[serde(rename_all = "kebab")]
enum Chat {
    Token { text: String },
}

fn main() {}
