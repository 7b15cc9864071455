use sse_runtime::SseError;

#[derive(SseError)]
enum Refused {
    NoRoom {
        #[serde(flatten)]
        room: u64,
    },
}

fn main() {}
