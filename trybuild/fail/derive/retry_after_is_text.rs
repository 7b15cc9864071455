use sse_runtime::SseError;

#[derive(SseError)]
struct Busy {
    #[sse(retry_after)]
    when: String,
}

fn main() {}
