use sse_runtime::SseEvent;

#[derive(SseEvent)]
#[sse(crate = sse_runtime)]
enum Chat {
    Token,
}

fn main() {}
