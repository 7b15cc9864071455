use sse_runtime::SseError;

#[derive(SseError)]
enum Refused {
    NoRoom {
        #[serde(with = "hex")]
        room: u64,
    },
}

fn main() {}
