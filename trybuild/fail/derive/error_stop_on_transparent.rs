use sse_runtime::SseError;

#[derive(Debug, SseError)]
struct Inner;

#[derive(Debug, SseError)]
enum Outer {
    #[sse(transparent, stop)]
    Inner(Inner),
}

fn main() {}
