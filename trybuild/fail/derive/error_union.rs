use sse_runtime::SseError;

#[derive(SseError)]
union Refused {
    room: u64,
    seat: u64,
}

fn main() {}
