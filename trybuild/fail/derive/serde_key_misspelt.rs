use sse_runtime::SseEvent;

#[derive(SseEvent)]
enum Chat {
    Token {
        #[serde(renam = "t")]
        text: String,
    },
}

fn main() {}
