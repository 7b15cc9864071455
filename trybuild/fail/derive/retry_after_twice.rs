use sse_runtime::SseError;

#[derive(SseError)]
struct Busy {
    #[sse(retry_after)]
    seconds: u32,
    #[sse(retry_after)]
    minutes: u32,
}

fn main() {}
