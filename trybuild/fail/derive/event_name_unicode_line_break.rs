use sse_runtime::SseEvent;

#[derive(SseEvent)]
enum Update {
    #[sse(event = "a\u{85}b")]
    Changed,
}

fn main() {}
