use sse_runtime::SseError;

#[derive(SseError)]
enum Refused {
    #[sse(404)]
    NoRoom { room: u64 },
}

fn main() {}
