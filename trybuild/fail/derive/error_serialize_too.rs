use sse_runtime::SseError;

#[derive(SseError, serde::Serialize)]
enum Refused {
    NoRoom { room: u64 },
}

fn main() {}
