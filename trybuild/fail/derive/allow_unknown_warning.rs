use sse_runtime::SseEvent;

#[derive(SseEvent)]
#[sse(allow(reserved_names))]
enum Chat {
    Error,
}

fn main() {}
