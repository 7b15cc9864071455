use sse_runtime::SseEvent;

#[derive(SseEvent)]
enum Chat {
    #[sse(rename = "token")]
    Word,
}

fn main() {}
