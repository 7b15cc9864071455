use sse_runtime::SseError;

#[derive(SseError)]
enum Refused {
    #[sse(status = StatusCode::NOT_FOUND)]
    NoRoom { room: u64 },
}

fn main() {}
