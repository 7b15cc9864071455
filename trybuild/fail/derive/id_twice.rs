use sse_runtime::SseEvent;

#[derive(SseEvent)]
struct Tick {
    #[sse(id)]
    key: u32,
    #[sse(id)]
    seq: u32,
}

fn main() {}
