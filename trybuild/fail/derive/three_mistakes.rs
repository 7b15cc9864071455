use sse_runtime::SseEvent;

#[derive(SseEvent)]
enum Chat {
    #[sse(event = "")]
    Token,
    Word(String, String),
    #[sse(text)]
    Finished,
}

fn main() {}
