use sse_runtime::SseError;

#[derive(SseError)]
enum Refused {
    #[sse(transparent)]
    Io(std::io::Error, u8),
}

fn main() {}
