use sse_runtime::SseError;

#[derive(SseError)]
enum Refused {
    #[sse(retry_after)]
    Busy { seconds: u32 },
}

fn main() {}
