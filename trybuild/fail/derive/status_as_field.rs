use sse_runtime::SseError;

#[derive(SseError)]
enum Refused {
    NoRoom { status: u16 },
}

fn main() {}
