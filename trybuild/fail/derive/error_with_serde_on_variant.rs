use sse_runtime::SseError;

#[derive(SseError)]
enum Refused {
    #[serde(rename = "gone")]
    NoRoom { room: u64 },
}

fn main() {}
