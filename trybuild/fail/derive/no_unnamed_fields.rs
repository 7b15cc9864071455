use sse_runtime::SseEvent;

#[derive(SseEvent)]
enum Chat {
    Finished(),
}

fn main() {}
