use sse_runtime::SseEvent;

#[derive(SseEvent)]
union Chat {
    token: u32,
    other: f32,
}

fn main() {}
