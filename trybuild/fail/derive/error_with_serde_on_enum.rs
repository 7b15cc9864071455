use sse_runtime::SseError;

#[derive(SseError)]
#[serde(rename_all = "camelCase")]
enum Refused {
    NoRoom { room_id: u64 },
}

fn main() {}
