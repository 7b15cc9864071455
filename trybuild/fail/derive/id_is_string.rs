use sse_runtime::SseEvent;

#[derive(SseEvent)]
struct Tick {
    #[sse(id)]
    key: String,
}

fn main() {}
